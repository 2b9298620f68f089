//! The PostgreSQL source against a real server.
//!
//! `scripts/test databases` starts one (`scripts/checks/postgres_server`) and sets `RECS_TEST_POSTGRES_PORT` and
//! `RECS_TEST_POSTGRES_FOLDER`.

use recs_core::secret::{Secret, SecretProvider, SecretRef};
use recs_etl::source::{PostgresConfig, PostgresSource, Source, TlsConfig, TlsMode};
use std::sync::Arc;

/// Keeps one password, whatever it is asked for.
#[derive(Debug)]
struct Keeper(&'static str);

impl SecretProvider for Keeper {
    fn secret<'a>(&'a self, _: &'a SecretRef) -> futures::future::BoxFuture<'a, recs_core::Result<Secret>> {
        Box::pin(async move { Ok(Secret::new(self.0)) })
    }
}

fn source(config: PostgresConfig, password: &'static str) -> PostgresSource {
    PostgresSource::new(config, Arc::new(Keeper(password))).unwrap()
}

/// Settings that can never work are refused before anything is connected to.
#[test]
fn contradictory_settings_are_refused() {
    let fine = PostgresConfig::new("localhost", "shop", "reader");
    for (field, config) in [
        ("postgres.host", PostgresConfig { host: String::new(), ..fine.clone() }),
        ("postgres.connections", PostgresConfig { connections: 0, ..fine.clone() }),
        ("postgres.connections", PostgresConfig { connections: 65, ..fine.clone() }),
        ("postgres.connect_timeout_s", PostgresConfig { connect_timeout_s: 0, ..fine.clone() }),
        ("postgres.queries", fine.clone().with_query("q", " ")),
    ] {
        let refused = PostgresSource::new(config, Arc::new(Keeper(""))).unwrap_err().to_string();
        assert!(refused.contains(field), "{refused}");
    }
}

mod real {
    use super::*;
    use crate::formats;
    use arrow::array::{Array, AsArray, RecordBatch};
    use arrow::compute::concat_batches;
    use arrow::datatypes::{DataType, Int64Type};
    use arrow::util::display::array_value_to_string;
    use futures::{StreamExt, TryStreamExt};
    use recs_core::observe::Collect;
    use recs_etl::source::{ColumnType, ReadRequest, SpecialValues, conformance};
    use recs_etl::{DatabaseFailure, Error};
    use std::collections::BTreeMap;
    use std::path::PathBuf;
    use std::time::Duration;
    use tokio_postgres::{Client, NoTls};

    const OWNER_PASSWORD: &str = "owner-kept-secret";

    fn variable(name: &str) -> String {
        std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run scripts/test databases"))
    }

    fn port() -> u16 {
        variable("RECS_TEST_POSTGRES_PORT").parse().unwrap()
    }

    fn folder() -> PathBuf {
        PathBuf::from(variable("RECS_TEST_POSTGRES_FOLDER"))
    }

    async fn connect(database: &str) -> Client {
        let parameters =
            format!("host=127.0.0.1 port={} user=owner password={OWNER_PASSWORD} dbname={database}", port());
        let (client, connection) = tokio_postgres::connect(&parameters, NoTls).await.unwrap();
        tokio::spawn(connection);
        client
    }

    /// A database of the test's own, by its name.
    struct Database {
        name: String,
        client: Client,
    }

    impl Database {
        async fn new(name: &str) -> Self {
            let _ = rustls::crypto::ring::default_provider().install_default();
            let owner = connect("postgres").await;
            owner.batch_execute(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await.unwrap();
            owner.batch_execute(&format!("CREATE DATABASE {name}")).await.unwrap();
            Self { name: name.into(), client: connect(name).await }
        }

        async fn run(&self, sql: &str) {
            self.client.batch_execute(sql).await.unwrap();
        }

        fn config(&self) -> PostgresConfig {
            let mut config = PostgresConfig::new("localhost", &self.name, "owner");
            config.port = port();
            config.password = Some("env:KEPT".parse().unwrap());
            config
        }

        fn source(&self) -> PostgresSource {
            source(self.config(), OWNER_PASSWORD)
        }

        /// One column of one row.
        async fn number(&self, sql: &str) -> i64 {
            self.client.query_one_scalar(sql, &[]).await.unwrap()
        }
    }

    async fn read(source: &dyn Source, request: ReadRequest) -> Result<RecordBatch, Error> {
        let schema = source.schema(&request.table).await?;
        let batches: Vec<RecordBatch> = source.read(request).await?.try_collect().await?;
        let schema = batches.first().map_or(schema, RecordBatch::schema);
        Ok(concat_batches(&schema, &batches).unwrap())
    }

    fn ids(batch: &RecordBatch) -> Vec<i64> {
        let column = batch.column_by_name("id").unwrap();
        column.as_primitive::<Int64Type>().values().to_vec()
    }

    /// 300,000 rows on more than 4,000 pages.
    const BIG: &str = "CREATE TABLE big AS SELECT i::bigint AS id, i % 1000 AS part, repeat('x', 60) AS filler \
        FROM generate_series(1, 300000) i; ANALYZE big";

    async fn reference(name: &str) -> Database {
        let database = Database::new(name).await;
        database
            .run(
                "CREATE TABLE reference (id bigint, name text, price numeric(12,2), score double precision, \
                 flag boolean, day date, at timestamp)",
            )
            .await;
        let rows = conformance::reference();
        for row in 0..rows.num_rows() {
            let values: Vec<String> = rows
                .columns()
                .iter()
                .map(|column| match formats::text(column, row) {
                    Some(value) => format!("'{}'", value.replace('\'', "''")),
                    None => "NULL".into(),
                })
                .collect();
            database.run(&format!("INSERT INTO reference VALUES ({})", values.join(", "))).await;
        }
        database.run("ANALYZE reference").await;
        database
    }

    #[tokio::test]
    #[ignore = "needs a PostgreSQL server"]
    async fn the_behaviour_suite_holds_by_copy() {
        conformance::all(&reference("suite_copy").await.source()).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    #[ignore = "needs a PostgreSQL server"]
    async fn the_behaviour_suite_holds_by_cursor() {
        let database = reference("suite_cursor").await;
        let config = PostgresConfig { copy: Some(false), ..database.config() };
        conformance::all(&source(config, OWNER_PASSWORD)).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    #[ignore = "needs a PostgreSQL server"]
    async fn ranges_give_every_row_once_and_in_order_while_others_write() {
        let database = Database::new("ranges").await;
        database.run(BIG).await;
        let config = |connections| PostgresConfig { connections, ..database.config() };
        let expected: Vec<i64> = (1..=300_000).collect();
        let single = read(&source(config(1), OWNER_PASSWORD), ReadRequest::table("big")).await.unwrap();
        assert_eq!(ids(&single), expected);
        let several = source(config(4), OWNER_PASSWORD);
        let mut stream = several.read(ReadRequest::table("big")).await.unwrap();
        let first = stream.next().await.unwrap().unwrap();
        database.run("UPDATE big SET filler = 'changed'; INSERT INTO big SELECT i, 0, '' FROM generate_series(1, 9999) i").await;
        let mut batches = vec![first];
        while let Some(batch) = stream.next().await {
            batches.push(batch.unwrap());
        }
        let together = concat_batches(&single.schema(), &batches).unwrap();
        assert_eq!(together, single, "one snapshot, one order, however many connections");
        let limited = read(&several, ReadRequest::table("big").with_limit(100_000)).await.unwrap();
        assert_eq!(limited.num_rows(), 100_000);
    }

    #[tokio::test(flavor = "multi_thread")]
    #[ignore = "needs a PostgreSQL server"]
    async fn partitions_queries_and_keys_are_read_in_parallel_too() {
        let database = Database::new("parts").await;
        database.run(BIG).await;
        database
            .run(
                "CREATE TABLE parted (id bigint, part int, filler text) PARTITION BY RANGE (id); \
                 CREATE TABLE parted_low PARTITION OF parted FOR VALUES FROM (0) TO (250000); \
                 CREATE TABLE parted_high PARTITION OF parted FOR VALUES FROM (250000) TO (900000); \
                 INSERT INTO parted SELECT * FROM big; INSERT INTO big VALUES (NULL, 1, 'no key')",
            )
            .await;
        let mut config =
            database.config().with_query("odd", "SELECT * FROM big WHERE id % 2 = 1 OR id IS NULL -- odd");
        config.split_by = BTreeMap::from([("odd".into(), "id".into()), ("big".into(), "id".into())]);
        let source = source(config, OWNER_PASSWORD);
        let listed: Vec<String> = source.tables().await.unwrap().into_iter().map(|t| t.name).collect();
        assert_eq!(listed, ["odd", "big", "parted"], "partitions stand behind their parent");
        let parted = read(&source, ReadRequest::table("parted")).await.unwrap();
        let again = read(&source, ReadRequest::table("parted")).await.unwrap();
        assert_eq!(parted, again);
        let mut found = ids(&parted);
        found.sort_unstable();
        assert_eq!(found, (1..=300_000).collect::<Vec<i64>>());
        let odd = read(&source, ReadRequest::table("odd").with_columns(["id"])).await.unwrap();
        assert_eq!((odd.num_rows(), odd.column(0).null_count()), (150_001, 1));
        assert_eq!(ids(&odd)[..150_000], (0..150_000).map(|i| 2 * i + 1).collect::<Vec<i64>>());
        assert_eq!(read(&source, ReadRequest::table("big")).await.unwrap().num_rows(), 300_001);
    }

    /// Values that the server makes up, read in binary and as the text that the server writes: equal in every type.
    #[tokio::test(flavor = "multi_thread")]
    #[ignore = "needs a PostgreSQL server"]
    async fn values_are_those_that_the_server_writes() {
        let database = Database::new("made_up").await;
        database
            .run(
                "SELECT setseed(0.5); CREATE TABLE made AS SELECT (random() < 0.5) AS b, \
                 ((random() - 0.5) * 65534)::smallint AS i2, ((random() - 0.5) * 4e9)::integer AS i4, \
                 ((random() - 0.5) * 1.8e19)::bigint AS i8, \
                 ((random() - 0.5) * 10 ^ (random() * 10))::numeric(12,2) AS n12, \
                 ((random()::numeric - 0.5) * 10 ^ (random() * 28)::int)::numeric(38,10) AS n38, \
                 ((random() - 0.5) * 10 ^ (random() * 600 - 300))::double precision AS f8, \
                 date '2000-01-01' + ((random() - 0.5) * 1e6)::int AS d, \
                 timestamp '2000-01-01' + (random() - 0.5) * interval '500000 days' AS t, \
                 md5(random()::text) AS s FROM generate_series(1, 20000); INSERT INTO made SELECT FROM made LIMIT 100",
            )
            .await;
        let types = [
            "bool",
            "int64",
            "int64",
            "int64",
            "decimal(12,2)",
            "decimal(38,10)",
            "float64",
            "date",
            "timestamp",
            "text",
        ];
        let native = read(&database.source(), ReadRequest::table("made")).await.unwrap();
        let mut config = database.config();
        for (field, name) in native.schema().fields().iter().zip(types) {
            config = config.with_type("made", field.name(), name.parse().unwrap());
        }
        let written = read(&source(config, OWNER_PASSWORD), ReadRequest::table("made")).await.unwrap();
        assert_eq!(native.num_rows(), 20_100);
        for (at, field) in native.schema().fields().iter().enumerate() {
            let binary = arrow::compute::cast(native.column(at), written.column(at).data_type()).unwrap();
            assert_eq!(&binary, written.column(at), "column {}", field.name());
            assert_eq!(binary.null_count(), 100);
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    #[ignore = "needs a PostgreSQL server"]
    async fn every_type_has_a_form() {
        let database = Database::new("types").await;
        database
            .run(
                "CREATE TYPE mood AS ENUM ('sad', 'glad'); CREATE DOMAIN price AS numeric(8,3); \
                 CREATE TYPE pair AS (a int, b text); \
                 CREATE TABLE odd (u uuid, e mood, p price, j json, jb jsonb, m money, iv interval, ip inet, bits bit(3), \
                 t time, tz timestamptz, n numeric, wide numeric(60,5), ints int[], names text[], prices numeric(5,1)[], \
                 pt point, c pair, r int4range, o oid, ch \"char\", x bytea, f real, v varchar(6), bp char(4), \
                 \"Odd \"\"name\" int); \
                 INSERT INTO odd VALUES ('a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 'glad', 12.345, '{\"a\": 1}', '{\"a\":1}', 12.34, \
                 '1 month 2 days', '10.0.0.1/8', '101', '23:59:59.5', '2020-01-01 00:00:00+02', 0.1000, \
                 -1234567890123456789012345678901234567890.12345, '{1,NULL,3}', '{a,\"b,c\"}', '{1.5}', '(1,2)', '(1,x)', '[1,5)', \
                 4294967295, 'z', '\\x00ff', 'NaN', 'Zürich', 'ab', 7); INSERT INTO odd DEFAULT VALUES",
            )
            .await;
        let warnings = Arc::new(Collect::default());
        let source = database.source().with_observer(Arc::clone(&warnings) as _);
        let batch = read(&source, ReadRequest::table("odd")).await.unwrap();
        let list = |item| DataType::new_list(item, true);
        let shown = |name: &str| array_value_to_string(batch.column_by_name(name).unwrap(), 0).unwrap();
        for (name, data_type, value) in [
            ("u", DataType::Utf8, "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
            ("e", DataType::Utf8, "glad"),
            ("p", DataType::Decimal128(8, 3), "12.345"),
            ("j", DataType::Utf8, "{\"a\": 1}"),
            ("jb", DataType::Utf8, "{\"a\": 1}"),
            ("m", DataType::Decimal128(23, 4), "12.3400"),
            ("iv", DataType::Utf8, "P1M2D"),
            ("ip", DataType::Utf8, "10.0.0.1/8"),
            ("bits", DataType::Utf8, "101"),
            ("n", DataType::Utf8, "0.1000"),
            ("wide", DataType::Decimal256(60, 5), "-1234567890123456789012345678901234567890.12345"),
            ("ints", list(DataType::Int32), "[1, , 3]"),
            ("names", list(DataType::Utf8), "[a, b,c]"),
            ("prices", list(DataType::Decimal128(5, 1)), "[1.5]"),
            ("pt", DataType::Utf8, "(1,2)"),
            ("c", DataType::Utf8, "(1,x)"),
            ("r", DataType::Utf8, "[1,5)"),
            ("o", DataType::UInt32, "4294967295"),
            ("ch", DataType::Utf8, "z"),
            ("x", DataType::Binary, "00ff"),
            ("f", DataType::Float32, "NaN"),
            ("v", DataType::Utf8, "Zürich"),
            ("bp", DataType::Utf8, "ab  "),
            ("Odd \"name", DataType::Int32, "7"),
        ] {
            assert_eq!(batch.schema().field_with_name(name).unwrap().data_type(), &data_type, "{name}");
            assert_eq!(shown(name), value, "{name}");
        }
        assert!(shown("tz").starts_with("2019-12-31T22:00:00"), "{}", shown("tz"));
        assert!(batch.columns().iter().all(|c| c.is_null(1)), "a row of nulls");
        let warned: Vec<String> = warnings.events().iter().map(|e| format!("{e:?}")).collect();
        assert_eq!(warned.len(), 3, "point, pair and int4range, once each: {warned:?}");
    }

    #[tokio::test]
    #[ignore = "needs a PostgreSQL server"]
    async fn special_values_are_null_with_one_warning_or_an_error() {
        let database = Database::new("special").await;
        database
            .run(
                "CREATE TABLE s (id bigint, d date, n numeric(5,2)); INSERT INTO s VALUES (1, 'infinity', 1), \
                 (2, '-infinity', 'NaN'), (3, '2020-01-01', 2), (4, NULL, NULL)",
            )
            .await;
        let warnings = Arc::new(Collect::default());
        let lenient = database.source().with_observer(Arc::clone(&warnings) as _);
        let batch = read(&lenient, ReadRequest::table("s")).await.unwrap();
        assert_eq!((batch.column(1).null_count(), batch.column(2).null_count()), (3, 2));
        assert_eq!(warnings.events().len(), 2, "one a column: {:?}", warnings.events());
        let nulls = ReadRequest::table("s")
            .with_predicate(recs_etl::source::Predicate::IsNull { column: "d".into() });
        assert_eq!(ids(&read(&lenient, nulls).await.unwrap()), [1, 2, 4], "null is what reads as null");
        let strict = PostgresConfig { special_values: SpecialValues::Error, ..database.config() };
        let refused = read(&source(strict, OWNER_PASSWORD), ReadRequest::table("s")).await.unwrap_err();
        let text = refused.to_string();
        assert!(matches!(refused, Error::Value { .. }), "{text}");
        assert!(text.contains("column `d`") && text.contains("infinity") && text.contains("row 1"), "{text}");
    }

    #[tokio::test]
    #[ignore = "needs a PostgreSQL server"]
    async fn a_value_that_does_not_fit_names_its_column_and_row() {
        let database = Database::new("unfit").await;
        database.run("CREATE TABLE u (id bigint, s text, grid int[]); INSERT INTO u VALUES (1, '12', '{}'), (2, 'x', '{{1}}')").await;
        let declared = database.config().with_type("u", "s", ColumnType::Int64);
        let refused =
            read(&source(declared, OWNER_PASSWORD), ReadRequest::table("u").with_columns(["s"])).await;
        let text = refused.unwrap_err().to_string();
        assert!(text.contains("column `s`") && text.contains("`x`") && text.contains("row 2"), "{text}");
        let grid = read(&database.source(), ReadRequest::table("u")).await.unwrap_err().to_string();
        assert!(grid.contains("2 dimensions") && grid.contains("postgres.types"), "{grid}");
        let small = PostgresConfig { max_value_bytes: 1, ..database.config() };
        let large = read(&source(small, OWNER_PASSWORD), ReadRequest::table("u").with_columns(["s"])).await;
        assert!(matches!(large, Err(Error::Value { .. })), "{large:?}");
    }

    fn failure(error: &Error) -> Option<DatabaseFailure> {
        match error {
            Error::Database { failure, .. } => Some(*failure),
            _ => None,
        }
    }

    #[tokio::test]
    #[ignore = "needs a PostgreSQL server"]
    async fn a_failed_connection_test_says_what_failed_and_no_password() {
        let database = Database::new("failures").await;
        let fine = database.config();
        let tls = |mode, ca: &str| TlsConfig { mode, ca_file: Some(folder().join(ca)) };
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let by_address = PostgresConfig { host: "127.0.0.1".into(), ..fine.clone() };
        for (config, password, expected) in [
            (fine.clone(), OWNER_PASSWORD, None),
            (
                PostgresConfig { tls: tls(TlsMode::VerifyFull, "ca.crt"), ..fine.clone() },
                OWNER_PASSWORD,
                None,
            ),
            (
                PostgresConfig { tls: tls(TlsMode::VerifyCa, "ca.crt"), ..by_address.clone() },
                OWNER_PASSWORD,
                None,
            ),
            (
                PostgresConfig { tls: tls(TlsMode::VerifyFull, "ca.crt"), ..by_address },
                OWNER_PASSWORD,
                Some(DatabaseFailure::Tls),
            ),
            (
                PostgresConfig { tls: tls(TlsMode::VerifyCa, "stranger.crt"), ..fine.clone() },
                OWNER_PASSWORD,
                Some(DatabaseFailure::Tls),
            ),
            (
                PostgresConfig { tls: tls(TlsMode::VerifyCa, "missing.crt"), ..fine.clone() },
                OWNER_PASSWORD,
                Some(DatabaseFailure::Tls),
            ),
            (
                PostgresConfig { host: "no-such-host.invalid".into(), ..fine.clone() },
                OWNER_PASSWORD,
                Some(DatabaseFailure::Dns),
            ),
            (PostgresConfig { port: closed, ..fine.clone() }, OWNER_PASSWORD, Some(DatabaseFailure::Refused)),
            (fine.clone(), "wrong-kept-secret", Some(DatabaseFailure::Login)),
            (PostgresConfig { password: None, ..fine.clone() }, OWNER_PASSWORD, Some(DatabaseFailure::Login)),
            (
                PostgresConfig { database: "nowhere".into(), ..fine.clone() },
                OWNER_PASSWORD,
                Some(DatabaseFailure::UnknownDatabase),
            ),
        ] {
            let source = source(config, password);
            let done = source.check().await;
            let text = format!(
                "{done:?} {} {source:?}",
                done.as_ref().err().map(ToString::to_string).unwrap_or_default()
            );
            assert_eq!(done.as_ref().err().map(failure), expected.map(Some), "{text}");
            assert!(!text.contains("kept-secret"), "{text}");
        }
    }

    #[tokio::test]
    #[ignore = "needs a PostgreSQL server"]
    async fn what_may_not_be_read_is_told_from_what_is_not_there() {
        let database = Database::new("denied").await;
        database
            .run(
                "CREATE TABLE closed (id bigint, open int); DROP ROLE IF EXISTS denied_reader; \
                  CREATE ROLE denied_reader LOGIN PASSWORD 'reader-kept-secret'",
            )
            .await;
        let fine = database.config();
        let reader =
            source(PostgresConfig { user: "denied_reader".into(), ..fine.clone() }, "reader-kept-secret");
        let denied = read(&reader, ReadRequest::table("closed")).await.unwrap_err();
        assert_eq!(failure(&denied), Some(DatabaseFailure::Permission), "{denied}");
        database.run("GRANT SELECT (open) ON closed TO denied_reader").await;
        read(&reader, ReadRequest::table("closed").with_columns(["open"])).await.unwrap();
        let broken = source(fine.with_query("broken", "SELECT nothing FROM nowhere"), OWNER_PASSWORD);
        let refused = read(&broken, ReadRequest::table("broken")).await.unwrap_err();
        assert_eq!(failure(&refused), Some(DatabaseFailure::Statement), "{refused}");
    }

    #[tokio::test]
    #[ignore = "needs a PostgreSQL server"]
    async fn traffic_is_encrypted_unless_disabled() {
        let database = Database::new("encrypted").await;
        let query = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
        for (mode, expected) in [(TlsMode::Prefer, true), (TlsMode::Require, true), (TlsMode::Disable, false)]
        {
            let mut config = database.config().with_query("ssl", query);
            config.tls.mode = mode;
            let batch = read(&source(config, OWNER_PASSWORD), ReadRequest::table("ssl")).await.unwrap();
            assert_eq!(batch.column(0).as_boolean().value(0), expected, "{mode:?}");
        }
    }

    /// Connections of our reads to the database.
    async fn backends(database: &Database) -> i64 {
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'recs'";
        database.number(sql).await
    }

    #[tokio::test(flavor = "multi_thread")]
    #[ignore = "needs a PostgreSQL server"]
    async fn a_dropped_stream_ends_its_statements() {
        let database = Database::new("dropped").await;
        database.run(BIG).await;
        let mut stream =
            database.source().read(ReadRequest::table("big").with_batch_rows(100)).await.unwrap();
        stream.next().await.unwrap().unwrap();
        assert!(backends(&database).await >= 1);
        drop(stream);
        for _ in 0..200 {
            if backends(&database).await == 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{} connections are left", backends(&database).await);
    }

    #[tokio::test(flavor = "multi_thread")]
    #[ignore = "needs a PostgreSQL server"]
    async fn a_lost_connection_is_an_error_and_no_early_end() {
        let database = Database::new("lost").await;
        database.run(BIG).await;
        let mut stream =
            database.source().read(ReadRequest::table("big").with_batch_rows(100)).await.unwrap();
        stream.next().await.unwrap().unwrap();
        let kill = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'recs' \
                    AND datname = current_database()";
        assert!(database.number(kill).await >= 1);
        let mut last = Ok(());
        while let Some(batch) = stream.next().await {
            last = batch.map(drop);
        }
        let error = last.expect_err("the stream ended as if all were read");
        assert!(error.is_transient(), "{error}");
    }

    #[tokio::test]
    #[ignore = "needs a PostgreSQL server"]
    async fn statements_longer_than_allowed_are_stopped() {
        let database = Database::new("timeouts").await;
        let config = database.config().with_query("slow", "SELECT pg_sleep(60)::text AS id");
        let config = PostgresConfig { statement_timeout_s: 1, ..config };
        let stopped = read(&source(config, OWNER_PASSWORD), ReadRequest::table("slow")).await.unwrap_err();
        assert_eq!(failure(&stopped), Some(DatabaseFailure::Timeout), "{stopped}");
    }

    #[tokio::test]
    #[ignore = "needs a PostgreSQL server"]
    async fn names_outside_the_search_path_go_with_their_schema() {
        let database = Database::new("schemas").await;
        database
            .run("CREATE SCHEMA \"other one\"; CREATE TABLE \"other one\".\"a.b\" (id bigint); \
                  INSERT INTO \"other one\".\"a.b\" VALUES (5); CREATE VIEW seen AS SELECT * FROM \"other one\".\"a.b\"; \
                  CREATE MATERIALIZED VIEW kept AS SELECT * FROM seen")
            .await;
        let source = database.source();
        let names: Vec<String> = source.tables().await.unwrap().into_iter().map(|t| t.name).collect();
        assert_eq!(names, ["other one.a.b", "kept", "seen"]);
        for name in names {
            assert_eq!(ids(&read(&source, ReadRequest::table(name)).await.unwrap()), [5]);
        }
    }
}
