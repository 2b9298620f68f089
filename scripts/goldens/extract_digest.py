#!/usr/bin/env python3
"""What a correct 90-day extraction of the grocery purchases holds, as one digest that ignores row order.

    extract_digest.py EXTRACT.parquet OUT.json [--source DIR]

The digest is the SHA-256 of the rows as lines of text, sorted by their bytes. With --source (a folder with
transactions.parquet and products.parquet that cover the window) the extraction is made again by the rules
below, in whole cents, and must hold the same rows; the counts on the way are then written as well.
Needs pandas, numpy and pyarrow.

Rules: the days 2017-10-03 to 2018-01-01, sales_value above 0 as stored (four values in the window are
rounding dust near 1e-16 and count as rows, though not as money); products by revenue descending, then by
number; of these the shortest prefix that reaches 80 % of the revenue; customers with at least 3 distinct
such products; revenue = the customer's total over the rows kept.
"""

import argparse
import hashlib
import json
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd

COLUMNS = [
    "cust_person_id",
    "product_id",
    "revenue",
    "city",
    "timestamp",
    "art_name",
    "stratbuy_domain_desc",
    "mge_main_cat_desc",
]
HOW = (
    "sha256 over the rows as UTF-8 lines, sorted bytewise and joined; a line is "
    "cust_person_id TAB product_id TAB revenue as the 8 lower-case hex digits of its float32 bits "
    "(most significant first) TAB city TAB timestamp TAB art_name TAB stratbuy_domain_desc TAB "
    "mge_main_cat_desc LF; equal rows are kept"
)
LAST_DAY = datetime(2018, 1, 1)
WINDOW = timedelta(days=90)
REVENUE_SHARE_PERCENT = 80
MIN_DISTINCT_PRODUCTS = 3


def lines_of(table):
    """The rows of an extract as sorted UTF-8 lines."""
    bits = table.revenue.to_numpy(np.float32).view(np.uint32)
    columns = [
        [f"{b:08x}" for b in bits] if name == "revenue" else table[name].astype(str).tolist()
        for name in COLUMNS
    ]
    return sorted(("\t".join(row) + "\n").encode() for row in zip(*columns))


def extract(source, last_day=LAST_DAY):
    """Make the extraction from the purchases; returns it with the counts before and after the product cut."""
    rows = pd.read_parquet(source / "transactions.parquet")
    time = rows.transaction_timestamp
    in_window = (time >= last_day - WINDOW) & (time < last_day + timedelta(days=1))
    rows = rows[in_window & (rows.sales_value > 0)].copy()
    rows["cents"] = (rows.sales_value * 100).round().astype("int64")
    assert (rows.cents / 100 - rows.sales_value).abs().max() < 1e-9, "sales_value is not in whole cents"

    by_product = rows.groupby("product_id").cents.sum().reset_index()
    by_product = by_product.sort_values(["cents", "product_id"], ascending=[False, True])
    target = by_product.cents.sum() * REVENUE_SHARE_PERCENT
    reached = int((by_product.cents.cumsum() * 100 < target).sum())
    top = by_product.product_id.iloc[: reached + 1]

    rows = rows[rows.product_id.isin(top)]
    distinct = rows.groupby("household_id").product_id.nunique()
    rows = rows[rows.household_id.isin(distinct.index[distinct >= MIN_DISTINCT_PRODUCTS])]
    totals = rows.groupby("household_id").cents.sum() / 100

    products = pd.read_parquet(source / "products.parquet").set_index("product_id")
    names = products.reindex(rows.product_id)[["product_type", "department", "product_category"]]
    names = names.astype(object).where(names.notna(), "N/A")
    day = rows.transaction_timestamp.dt.floor("D")
    table = pd.DataFrame(
        {
            "cust_person_id": rows.household_id.astype(str).to_numpy(),
            "product_id": rows.product_id.to_numpy(),
            "revenue": rows.household_id.map(totals).to_numpy().astype(np.float32),
            "city": ("store_" + rows.store_id.astype(str)).to_numpy(),
            "timestamp": ((day - pd.Timestamp(0)) // pd.Timedelta(seconds=1)).to_numpy(),
            "art_name": names.product_type.to_numpy(),
            "stratbuy_domain_desc": names.department.to_numpy(),
            "mge_main_cat_desc": names.product_category.to_numpy(),
        }
    )
    return table, {"top_products": len(top), "all_products_in_window": len(by_product)}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("extract", type=Path, metavar="EXTRACT.parquet")
    parser.add_argument("out", type=Path, metavar="OUT.json")
    parser.add_argument("--source", type=Path, metavar="DIR", help="make the extraction again and compare")
    arguments = parser.parse_args()

    table = pd.read_parquet(arguments.extract)
    lines = lines_of(table)
    result = {
        "rows": len(table),
        "customers": table.cust_person_id.nunique(),
        "products": table.product_id.nunique(),
        "cities": table.city.nunique(),
    }
    if arguments.source:
        again, counts = extract(arguments.source)
        if lines_of(again) != lines:
            raise SystemExit(f"the extraction of {arguments.source} does not hold the rows of the extract")
        print(f"{arguments.source}: the extraction holds exactly the same {len(again)} rows")
        result |= counts
    result |= {"sha256": hashlib.sha256(b"".join(lines)).hexdigest(), "how": HOW}
    arguments.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
