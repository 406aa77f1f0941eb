//! The private server against the real PostgreSQL of this machine.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio_postgres::NoTls;

use super::account::Account;
use super::{Error, Installation, Options, PrivatePostgres, Template};

/// A folder that an unprivileged user may enter, with the data directory in it.
fn parent() -> tempfile::TempDir {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::Builder::new()
        .prefix("trunkline-test-")
        .tempdir()
        .unwrap();
    std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
    dir
}

fn in_directory(path: &Path) -> Options {
    Options {
        data_dir: Some(path.to_owned()),
        ..Options::default()
    }
}

async fn query(url: &str, statement: &str) -> String {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client.query_one(statement, &[]).await.unwrap().get(0)
}

async fn execute(url: &str, statement: &str) {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client.batch_execute(statement).await.unwrap();
}

fn signal(pid: u32, signal: Signal) {
    kill(Pid::from_raw(pid.try_into().unwrap()), signal).unwrap();
}

/// Whether a process exists and is more than an exit status nobody fetched.
fn is_alive(pid: u32) -> bool {
    std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|arguments| !arguments.is_empty())
}

async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(15);
    while !condition() {
        assert!(Instant::now() < deadline, "{what} within 15 s");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Lets a server make its data in `folder`, and stops it.
async fn fill(folder: &Path) {
    PrivatePostgres::start(in_directory(folder))
        .await
        .unwrap()
        .stop()
        .await;
}

#[tokio::test]
async fn a_temporary_server_is_private_and_leaves_nothing_behind() {
    let mut server = PrivatePostgres::start(Options::default()).await.unwrap();
    let url = server.url();
    assert_eq!(
        query(&url, "SELECT current_database()::text").await,
        "trunkline"
    );
    assert_eq!(query(&url, "SHOW listen_addresses").await, "127.0.0.1");
    assert_eq!(query(&url, "SHOW unix_socket_directories").await, "");
    assert_eq!(query(&url, "SHOW server_encoding").await, "UTF8");
    assert_eq!(query(&url, "SHOW fsync").await, "on");
    let wrong = url.replace("postgres:", "postgres:x");
    assert!(
        tokio_postgres::connect(&wrong, NoTls).await.is_err(),
        "a wrong password gets in"
    );
    assert!(server.is_temporary() && server.is_running().unwrap());

    let (folder, pid) = (server.data_dir().to_owned(), server.pid().unwrap());
    server.stop().await;
    assert!(!is_alive(pid));
    assert!(!folder.exists());
}

#[tokio::test]
async fn two_servers_at_once_have_different_ports() {
    let (a, b) = tokio::join!(
        PrivatePostgres::start(Options::default()),
        PrivatePostgres::start(Options::default())
    );
    let (a, b) = (a.unwrap(), b.unwrap());
    assert_ne!(a.port(), b.port());
    for server in [&a, &b] {
        assert_eq!(
            query(&server.url(), "SHOW port").await,
            server.port().to_string()
        );
    }
}

#[tokio::test]
async fn a_second_start_keeps_rows_password_and_port_and_is_quick() {
    let parent = parent();
    let folder = parent.path().join("data");
    let first = PrivatePostgres::start(in_directory(&folder)).await.unwrap();
    let url = first.url();
    execute(&url, "CREATE TABLE kept AS SELECT 'yes' AS answer").await;
    first.stop().await;

    let began = Instant::now();
    let second = PrivatePostgres::start(in_directory(&folder)).await.unwrap();
    let took = began.elapsed();
    assert_eq!(second.url(), url);
    assert_eq!(query(&url, "SELECT answer FROM kept").await, "yes");
    // Measured 0.1 s; a machine that runs other tests beside this one is slower.
    assert!(took < Duration::from_secs(3), "{took:?}");
    second.stop().await;
}

#[tokio::test]
async fn servers_begin_as_copies_of_a_template_and_go_their_own_ways() {
    let first = PrivatePostgres::start(Options::default()).await.unwrap();
    execute(&first.url(), "CREATE TABLE kept AS SELECT 'yes' AS answer").await;
    let template = Arc::new(Template::of(first).await.unwrap());
    let copy = || {
        PrivatePostgres::start(Options {
            template: Some(Arc::clone(&template)),
            ..Options::default()
        })
    };
    let (a, b) = tokio::join!(copy(), copy());
    let (a, b) = (a.unwrap(), b.unwrap());
    execute(&a.url(), "DROP TABLE kept").await;
    assert_eq!(query(&b.url(), "SELECT answer FROM kept").await, "yes");
    let log = std::fs::read_to_string(b.log_path()).unwrap();
    assert!(!log.contains("recovery"), "it was stopped properly: {log}");
    let folder = template.data_dir().path().to_owned();
    drop(template);
    assert!(!folder.exists());
}

#[tokio::test]
async fn a_folder_in_use_is_refused_and_its_server_left_alone() {
    let parent = parent();
    let folder = parent.path().join("data");
    let server = PrivatePostgres::start(in_directory(&folder)).await.unwrap();
    let error = PrivatePostgres::start(in_directory(&folder))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::InUse(_)), "{error}");
    assert_eq!(query(&server.url(), "SELECT 'here'").await, "here");
}

#[tokio::test]
async fn after_kill_9_of_the_server_it_starts_again_with_every_committed_row() {
    let mut server = PrivatePostgres::start(Options::default()).await.unwrap();
    let url = server.url();
    execute(&url, "CREATE TABLE kept AS SELECT 'yes' AS answer").await;
    // A child that is busy when its parent dies holds the shared memory for a moment longer.
    let busy = url.clone();
    let child = tokio::spawn(async move {
        let (client, connection) = tokio_postgres::connect(&busy, NoTls).await.unwrap();
        tokio::spawn(connection);
        let _ = client
            .batch_execute("SELECT count(*) FROM generate_series(1, 3000000)")
            .await;
    });
    tokio::time::sleep(Duration::from_millis(100)).await;

    signal(server.pid().unwrap(), Signal::SIGKILL);
    server.start_again().await.unwrap();
    assert_eq!(server.url(), url);
    assert_eq!(query(&url, "SELECT answer FROM kept").await, "yes");
    child.await.unwrap();
}

#[tokio::test]
async fn a_server_that_nobody_holds_is_stopped_by_the_next_start() {
    let parent = parent();
    let folder = parent.path().join("data");
    let first = PrivatePostgres::start(in_directory(&folder)).await.unwrap();
    let (url, port) = (first.url(), first.port());
    execute(&url, "CREATE TABLE kept AS SELECT 'yes' AS answer").await;
    let postgres = first.installation().program("postgres");
    first.stop().await;

    let folder = folder.canonicalize().unwrap();
    let mut command = std::process::Command::new(postgres);
    command
        .arg("-D")
        .arg(folder.join("cluster"))
        .args(["-p", &port.to_string()]);
    command
        .args(["-c", "unix_socket_directories="])
        .current_dir("/")
        .stderr(std::process::Stdio::null());
    Account::for_directory(&folder).unwrap().apply(&mut command);
    let mut orphan = command.spawn().unwrap();
    until("the orphan takes connections", || {
        std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
    })
    .await;

    let second = PrivatePostgres::start(in_directory(&folder)).await.unwrap();
    assert_eq!(query(&second.url(), "SELECT answer FROM kept").await, "yes");
    assert!(
        orphan.try_wait().unwrap().is_some(),
        "the orphan still runs"
    );
}

#[tokio::test]
async fn a_stale_pid_file_that_names_another_process_is_no_obstacle() {
    let parent = parent();
    let folder = parent.path().join("data");
    fill(&folder).await;
    // PostgreSQL minds a process of its own user only.
    let mut command = std::process::Command::new("sleep");
    Account::for_directory(&folder)
        .unwrap()
        .apply(command.arg("60").current_dir("/"));
    let mut stranger = command.spawn().unwrap();
    let pid_file = format!("{}\n/elsewhere\n1700000000\n5432\n", stranger.id());
    std::fs::write(folder.join("cluster/postmaster.pid"), pid_file).unwrap();

    let started = PrivatePostgres::start(in_directory(&folder)).await;
    let untouched = stranger.try_wait().unwrap().is_none();
    stranger.kill().unwrap();
    stranger.wait().unwrap();
    started.unwrap();
    assert!(untouched, "the other process was stopped");
}

#[tokio::test]
async fn a_folder_with_something_else_is_refused_by_name() {
    let parent = parent();
    std::fs::write(parent.path().join("notes.txt"), "x").unwrap();
    let error = PrivatePostgres::start(in_directory(parent.path()))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::ForeignDirectory { .. }), "{error}");
    assert!(
        error
            .to_string()
            .contains(&parent.path().display().to_string()),
        "{error}"
    );
}

#[tokio::test]
async fn data_of_another_major_version_is_refused_by_its_number() {
    let parent = parent();
    let folder = parent.path().join("data");
    fill(&folder).await;
    std::fs::write(folder.join("cluster/PG_VERSION"), "11\n").unwrap();
    let error = PrivatePostgres::start(in_directory(&folder))
        .await
        .unwrap_err();
    assert!(
        matches!(error, Error::OtherMajor { data: 11, .. }),
        "{error}"
    );
}

#[tokio::test]
async fn an_interrupted_first_start_is_completed_by_the_next() {
    let parent = parent();
    let folder = parent.path().join("data");
    fill(&folder).await;
    std::fs::rename(folder.join("cluster"), folder.join("cluster.new")).unwrap();
    let server = PrivatePostgres::start(in_directory(&folder)).await.unwrap();
    assert!(!folder.join("cluster.new").exists());
    assert_eq!(query(&server.url(), "SELECT 'works'").await, "works");
}

#[tokio::test]
async fn a_taken_port_is_refused_by_its_number() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let options = Options {
        port,
        ..Options::default()
    };
    let error = PrivatePostgres::start(options).await.unwrap_err();
    assert!(
        matches!(error, Error::PortTaken(named) if named == port),
        "{error}"
    );
}

#[tokio::test]
async fn a_setting_that_the_server_refuses_is_quoted_from_its_log() {
    let options = Options {
        settings: vec![("no_such_setting".to_owned(), "1".to_owned())],
        ..Options::default()
    };
    let error = PrivatePostgres::start(options).await.unwrap_err();
    assert!(error.to_string().contains("no_such_setting"), "{error}");
}

#[tokio::test]
async fn settings_of_the_caller_override_ours_and_never_the_address() {
    let settings = [("shared_buffers", "32MB"), ("listen_addresses", "*")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec();
    let server = PrivatePostgres::start(Options {
        settings,
        ..Options::default()
    })
    .await
    .unwrap();
    assert_eq!(query(&server.url(), "SHOW shared_buffers").await, "32MB");
    assert_eq!(
        query(&server.url(), "SHOW listen_addresses").await,
        "127.0.0.1"
    );
}

#[tokio::test]
async fn a_build_without_lz4_starts_all_the_same() {
    use std::os::unix::fs::PermissionsExt;
    let parent = parent();
    let real = Installation::find().unwrap();
    // Programs that answer as such a build does, and are this machine's otherwise.
    for (program, refusal) in [
        ("initdb", ""),
        ("postgres", "case \"$*\" in *lz4*) exit 1;; esac\n"),
    ] {
        let file = parent.path().join(program);
        let real = real.program(program);
        let script = format!("#!/bin/sh\n{refusal}exec {} \"$@\"\n", real.display());
        std::fs::write(&file, script).unwrap();
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o755)).unwrap();
    }
    let options = Options {
        bin_dir: Some(parent.path().to_owned()),
        ..Options::default()
    };
    let server = PrivatePostgres::start(options).await.unwrap();
    assert_eq!(
        query(&server.url(), "SHOW default_toast_compression").await,
        "pglz"
    );
    // PostgreSQL 14 calls it `on`, later ones `pglz`.
    let wal = query(&server.url(), "SHOW wal_compression").await;
    assert!(matches!(wal.as_str(), "on" | "pglz"), "{wal}");
}
