use super::*;

fn write(dir: &Path, name: &str, lines: &[&str]) -> PathBuf {
    let path = dir.join(name);
    let text: String = lines.iter().map(|l| format!("{l}\n")).collect();
    std::fs::write(&path, text).unwrap();
    path
}

async fn read(path: &Path, wanted: Wanted) -> String {
    let (chunks, mut receiver) = mpsc::channel(64);
    let mut sink = Sink { chunks, left: wanted.limit };
    existing(path, &wanted, &mut sink).await;
    drop(sink);
    let mut out = Vec::new();
    while let Some(chunk) = receiver.recv().await {
        out.extend_from_slice(&chunk);
    }
    String::from_utf8(out).unwrap()
}

#[tokio::test]
async fn lines_as_people_see_them() {
    let dir = tempfile::tempdir().unwrap();
    let path = write(
        dir.path(),
        "1.log",
        &[
            "2026-01-01T00:00:01Z stdout F one",
            "2026-01-01T00:00:02Z stderr F two words",
            "2026-01-01T00:00:03Z stdout P par",
            "2026-01-01T00:00:03Z stdout F tial",
            "2026-01-01T00:00:04Z stdout F ",
        ],
    );
    let none = Wanted::default;
    let since = "2026-01-01T00:00:03Z".parse().ok();
    for (wanted, expect) in [
        (none(), "one\ntwo words\npartial\n\n"),
        (Wanted { tail: Some(2), ..none() }, "tial\n\n"),
        (Wanted { tail: Some(0), ..none() }, ""),
        (Wanted { tail: Some(99), ..none() }, "one\ntwo words\npartial\n\n"),
        (Wanted { since, ..none() }, "partial\n\n"),
        (Wanted { limit: Some(5), ..none() }, "one\nt"),
        (Wanted { stream: Some("stderr"), timestamps: true, ..none() }, "2026-01-01T00:00:02Z two words\n"),
    ] {
        assert_eq!(read(&path, wanted.clone()).await, expect, "{wanted:?}");
    }
}

#[tokio::test]
async fn older_files_come_first() {
    use std::io::Write as _;
    let dir = tempfile::tempdir().unwrap();
    let packed = std::fs::File::create(dir.path().join("0.log.20260101-000000.gz")).unwrap();
    let mut packer = flate2::write::GzEncoder::new(packed, flate2::Compression::fast());
    packer.write_all(b"T stdout F a\nT stdout F b\n").unwrap();
    packer.finish().unwrap();
    write(dir.path(), "0.log.20260101-000001", &["T stdout F c"]);
    let path = write(dir.path(), "0.log", &["T stdout F d"]);
    write(dir.path(), "1.log", &["T stdout F other"]);
    assert_eq!(read(&path, Wanted::default()).await, "a\nb\nc\nd\n");
    assert_eq!(read(&path, Wanted { tail: Some(3), ..Wanted::default() }).await, "b\nc\nd\n");
}

#[test]
fn questions() {
    let wanted = Wanted::parse(&Query::parse("sinceTime=2026-01-01T00%3A00%3A00Z&tailLines=5&follow=true")).unwrap();
    assert_eq!((wanted.tail, wanted.follow, wanted.since), (Some(5), true, "2026-01-01T00:00:00Z".parse().ok()));
    assert!(Wanted::parse(&Query::parse("tailLines=x")).is_err());
    assert!(Wanted::parse(&Query::parse("sinceTime=yesterday")).is_err());
}
