//! Programs of other people: run, waited for with a limit, and missed loudly when they are not installed.

use std::ffi::OsStr;
use std::io::ErrorKind;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::{Child, Command};
use tokio::time::timeout;

/// What a program left behind.
#[derive(Debug)]
pub struct Finished {
    pub success: bool,
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// Runs a program to its end, in a directory of the test's own.
pub async fn run(program: &str, arguments: &[&str], dir: &Path, limit: Duration) -> Finished {
    let child = start(program, arguments, dir);
    let output = timeout(limit, child.wait_with_output())
        .await
        .unwrap_or_else(|_| panic!("{program} {arguments:?} did not end within {limit:?}"))
        .unwrap();
    Finished {
        success: output.status.success(),
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Starts a program; it is ended when the value is dropped.
pub fn start<A: AsRef<OsStr>>(program: &str, arguments: &[A], dir: &Path) -> Child {
    Command::new(program)
        .args(arguments)
        .current_dir(dir)
        .env("TERM", "dumb")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap_or_else(|error| match error.kind() {
            ErrorKind::NotFound => {
                panic!("`{program}` is not installed: run scripts/test, which installs what tests need")
            }
            _ => panic!("{program}: {error}"),
        })
}
