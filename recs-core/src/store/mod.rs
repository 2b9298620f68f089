//! Where everything lies: one object store behind a URL, and the layout of a tenant in it.
//!
//! | file | what |
//! |---|---|
//! | `url.rs` | [`Store::open`]: folder or URL -> store |
//! | `object.rs` | [`Store`]: get, put, create, streaming bridges between async objects and `std::io` codecs |
//! | `publish.rs` | [`Publication`]: data files first, manifest last, all or nothing |
//! | `numbered.rs` | [`NumberedLog`]: changing state as numbered immutable files |
//! | `table.rs` | [`Table`]: files that are a table together |
//! | `layout.rs` | [`TenantRoot`]: the folders of a tenant |
//!
//! A reader never sees half a thing: data files go to names that nothing refers to yet, and the one file that refers to
//! them is created last, by a conditional put.

mod bridge;
mod layout;
mod numbered;
mod object;
mod publish;
mod table;
mod url;
mod writer;

pub use layout::{TenantRoot, is_plain_name};
pub use numbered::NumberedLog;
pub use object::Store;
pub use publish::Publication;
pub use table::{Table, TableFile};
pub use url::env_options;
