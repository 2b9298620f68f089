//! Who may write a file: one process at a time, by a lock of the operating system, which ends with the process.

use std::fs::{File, TryLockError};
use std::io::{Error, ErrorKind, Result};

/// True when the file is ours now, false when somebody else has it.
///
/// # Errors
/// Those of the file system. One without locks is an error too: nothing would keep two processes apart there.
pub(crate) fn claim(file: &File) -> Result<bool> {
    claimed(file.try_lock())
}

fn claimed(locked: std::result::Result<(), TryLockError>) -> Result<bool> {
    match locked {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(e)) if e.kind() == ErrorKind::Unsupported => {
            let what = format!(
                "the file system has no locks, without which two processes could write at once ({e})"
            );
            Err(Error::new(ErrorKind::Unsupported, what))
        }
        Err(TryLockError::Error(e)) => Err(e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_one_owner_and_no_lock_is_no_permission() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let open = || File::open(file.path()).unwrap();
        let (first, second) = (open(), open());
        assert!(claim(&first).unwrap() && !claim(&second).unwrap());
        drop(first);
        assert!(claim(&second).unwrap());
        for kind in [ErrorKind::Unsupported, ErrorKind::Interrupted, ErrorKind::Other] {
            let refused = claimed(Err(TryLockError::Error(kind.into()))).unwrap_err();
            assert_eq!(refused.kind(), kind);
            assert_eq!(refused.to_string().contains("no locks"), kind == ErrorKind::Unsupported);
        }
    }
}
