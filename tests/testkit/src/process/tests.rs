use super::*;

const SOON: Duration = Duration::from_secs(10);

fn script_spec(folder: &Path, script: &str) -> Spec {
    let shell = tools::on_path("sh").expect("a shell");
    Spec::new("a script", shell, folder.join("log")).args(["-c", script])
}

fn shell(folder: &Path, script: &str) -> Process {
    script_spec(folder, script).spawn().expect("started")
}

fn runs(pid: u32) -> bool {
    Path::new("/proc").join(pid.to_string()).exists()
}

#[tokio::test]
async fn waits_for_a_condition_and_stops_in_good_order() {
    let folder = tempfile::tempdir().expect("a folder");
    let script = "trap 'echo bye; exit 3' TERM; echo ready; while :; do sleep 0.05; done";
    let mut child = script_spec(folder.path(), script)
        .spawn_until("ready", SOON)
        .await
        .expect("ready");
    let status = child.stop(SOON).await.expect("stopped");
    assert_eq!(status.code(), Some(3));
    assert_eq!(child.last_lines(), "ready\nbye");
}

#[tokio::test]
async fn a_child_that_dies_is_reported_with_its_last_words() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut child = shell(folder.path(), "echo no such port; exit 7");
    let error = child
        .wait_until("ready", SOON, || async { false })
        .await
        .expect_err("it is dead");
    assert!(error.to_string().contains("no such port"), "{error}");
    assert!(error.to_string().contains('7'), "{error}");
}

#[tokio::test]
async fn one_that_ignores_the_request_to_stop_is_killed() {
    let folder = tempfile::tempdir().expect("a folder");
    let spec = script_spec(folder.path(), "trap '' TERM; echo ready; exec sleep 60");
    let mut child = spec.spawn_until("ready", SOON).await.expect("ready");
    let status = child.stop(Duration::from_millis(100)).await.expect("stopped");
    assert!(was_killed(status));
}

#[test]
fn dropping_ends_it_frozen_or_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut child = shell(folder.path(), "exec sleep 60");
    let pid = child.pid();
    child.pause().expect("frozen");
    assert!(runs(pid));
    drop(child);
    assert!(!runs(pid));
}

/// The thread that asked for it is gone, the process is not: so the child goes on.
#[tokio::test]
async fn a_child_outlives_the_thread_that_started_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let cat = tools::on_path("cat").expect("cat");
    let spec = Spec::new("cat", cat, folder.path().join("log")).piped();
    let mut child = thread::spawn(move || spec.spawn().expect("started"))
        .join()
        .expect("joined");
    let mut input = child.stdin().expect("an input");
    io::Write::write_all(&mut input, b"still here\n").expect("written");
    let log = child.log().to_owned();
    child
        .wait_until("on", SOON, || async { last_lines(&log, 1) == "still here" })
        .await
        .expect("on");
    drop(input);
    assert!(child.wait_ended(SOON).await.expect("ended").success());
}

#[test]
fn shows_the_end_of_a_long_log() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("log");
    let text: Vec<String> = (0..50_000).map(|line| format!("line {line}")).collect();
    std::fs::write(&path, text.join("\n")).expect("written");
    assert_eq!(last_lines(&path, 2), "line 49998\nline 49999");
    assert!(last_lines(&folder.path().join("none"), 2).starts_with("(no log"));
}
