//! Commands with streams, containers looked at, ports of pods.

use std::time::Instant;

use node::runtime::streaming::{Reader, Wanted};
use node::runtime::{ContainerConfig, Runtime as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::fixture::{PATIENCE, world};

const ALL: Wanted = Wanted { stdin: true, stdout: true, stderr: true, tty: false };
const TERMINAL: Wanted = Wanted { stdin: true, stdout: true, stderr: false, tty: true };

fn words(command: &[&str]) -> Vec<String> {
    command.iter().map(|word| (*word).to_owned()).collect()
}

/// Reads until the text has come, or the end.
async fn until(reader: &mut Reader, text: &str) -> String {
    let mut seen = Vec::new();
    let reading = async {
        let mut chunk = [0; 4096];
        while !String::from_utf8_lossy(&seen).contains(text) {
            let Ok(count @ 1..) = reader.read(&mut chunk).await else { break };
            seen.extend_from_slice(&chunk[..count]);
        }
    };
    tokio::time::timeout(PATIENCE, reading).await.unwrap();
    String::from_utf8_lossy(&seen).into_owned()
}

#[tokio::test]
async fn a_command_has_its_own_streams_and_code() {
    let Some(world) = world("streams").await else { return };
    let sandbox = world.sandbox().await;
    let id = world.start(&sandbox, world.container("sleep 1000")).await;
    let command = words(&["sh", "-c", "cat; echo err > /dev/stderr; exit 7"]);
    let mut running = world.runtime.exec(&id, command, ALL).await.unwrap();
    let mut stdin = running.stdin.take().unwrap();
    stdin.write_all(b"hello").await.unwrap();
    drop(stdin);
    assert_eq!(until(&mut running.stdout.take().unwrap(), "nothing more").await, "hello");
    assert_eq!(until(&mut running.stderr.take().unwrap(), "nothing more").await, "err\n");
    assert_eq!(running.ended.take().unwrap().await.unwrap(), 7);

    let missing = world.runtime.exec(&id, words(&["nothere"]), ALL).await;
    let words = missing.err().unwrap().to_string();
    assert!(words.ends_with("exec: \"nothere\": executable file not found in $PATH"), "{words}");
    world.end().await;
}

#[tokio::test]
async fn a_command_goes_on_when_its_client_has_gone() {
    let Some(world) = world("hangup").await else { return };
    let sandbox = world.sandbox().await;
    let id = world.start(&sandbox, world.container("sleep 1000")).await;
    let command = words(&["sh", "-c", "cat; touch /tmp/input-ended; sleep 1000"]);
    drop(world.runtime.exec(&id, command, ALL).await.unwrap());
    let began = Instant::now();
    let look = || world.runtime.exec_sync(&id, words(&["ls", "/tmp/input-ended"]), PATIENCE);
    while look().await.unwrap().exit_code != 0 {
        assert!(began.elapsed() < PATIENCE, "its input does not end");
    }
    let processes = world.runtime.exec_sync(&id, words(&["ps"]), PATIENCE).await.unwrap().stdout;
    assert_eq!(String::from_utf8_lossy(&processes).matches("sleep 1000").count(), 2);
    world.end().await;
}

#[tokio::test]
async fn a_terminal_has_a_size_and_hangs_up() {
    let Some(world) = world("terminal").await else { return };
    let sandbox = world.sandbox().await;
    let id = world.start(&sandbox, world.container("sleep 1000")).await;
    let command = words(&["sh", "-c", "trap 'touch /tmp/hung-up' HUP; read line; stty size; echo $TERM; read line"]);
    let mut running = world.runtime.exec(&id, command, TERMINAL).await.unwrap();
    let terminal = running.terminal.take().unwrap();
    terminal.resize(91, 17).unwrap();
    let mut stdin = running.stdin.take().unwrap();
    stdin.write_all(b"go\n").await.unwrap();
    let shown = until(running.stdout.as_mut().unwrap(), "xterm").await;
    assert!(shown.contains("17 91"), "{shown}");
    drop((stdin, terminal, running));
    let began = Instant::now();
    let look = || world.runtime.exec_sync(&id, words(&["ls", "/tmp/hung-up"]), PATIENCE);
    while look().await.unwrap().exit_code != 0 {
        assert!(began.elapsed() < PATIENCE, "nothing hangs up");
    }
    world.end().await;
}

#[tokio::test]
async fn a_container_is_looked_at_and_written_to() {
    let Some(world) = world("attach").await else { return };
    let sandbox = world.sandbox().await;
    let script = "while read line; do echo got $line; echo err $line >&2; done; echo over; sleep 1000";
    let config = ContainerConfig { stdin: true, ..world.container(script) };
    let id = world.start(&sandbox, config).await;
    for line in ["one", "two"] {
        let mut running = world.runtime.attach(&id, ALL, line == "two").await.unwrap();
        running.stdin.as_mut().unwrap().write_all(format!("{line}\n").as_bytes()).await.unwrap();
        assert_eq!(until(running.stdout.as_mut().unwrap(), "\n").await, format!("got {line}\n"));
        assert_eq!(until(running.stderr.as_mut().unwrap(), "\n").await, format!("err {line}\n"));
    }
    // The second was given the input, so the container's ends with it.
    world.wait_for_line(&id, "stdout F over").await;
    world.runtime.stop_container(&id, std::time::Duration::ZERO).await.unwrap();
    assert!(world.runtime.attach(&id, ALL, false).await.is_err(), "it does not run");
    world.end().await;
}

#[tokio::test]
async fn a_port_of_the_pod_is_connected_to() {
    let Some(world) = world("connect").await else { return };
    let sandbox = world.sandbox().await;
    let netns = world.wires.0.lock().unwrap()[&sandbox.0].clone();
    let up = ["ip", "link", "set", "lo", "up"];
    let netns = format!("--net={}", netns.display());
    assert!(std::process::Command::new("nsenter").arg(netns).args(up).status().unwrap().success());
    let id = world.start(&sandbox, world.container("echo up; nc -l -p 8080 -e cat; sleep 1000")).await;
    world.wait_for_line(&id, "stdout F up").await;
    let began = Instant::now();
    let mut connection = loop {
        match world.runtime.connect(&sandbox, 8080).await {
            Ok(connection) => break connection,
            Err(error) => assert!(began.elapsed() < PATIENCE, "{error}"),
        }
    };
    connection.writer.write_all(b"there and back\n").await.unwrap();
    assert_eq!(until(&mut connection.reader, "\n").await, "there and back\n");
    drop(connection);
    let refused = world.runtime.connect(&sandbox, 8081).await.err().unwrap().to_string();
    assert_eq!(refused, "failed to connect to localhost:8081 inside the pod: connection refused");
    world.end().await;
}
