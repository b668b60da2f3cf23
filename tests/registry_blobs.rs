//! Blobs from a registry into sinks: several at once, resumed, restarted, refused.

mod fake_registry;

use std::{
    sync::{
        Arc, Barrier, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use coracle::{
    model::{BlobSink, Digest, Error, ErrorKind, Opening, RegistryOptions, Result},
    registry::{BlobRequest, Limits, PARALLEL, Registry},
};
use fake_registry::{FakeRegistry, Reply, digest, part};

/// What a sink was told.
#[derive(Default)]
struct Told {
    bytes: Vec<u8>,
    restarts: usize,
    finished: bool,
}

struct TestSink {
    told: Arc<Mutex<Told>>,
    digest: Digest,
    /// Fails at this byte.
    full_at: usize,
    together: Option<Arc<Barrier>>,
}

impl BlobSink for TestSink {
    fn received(&self) -> u64 {
        self.told.lock().unwrap().bytes.len() as u64
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let mut told = self.told.lock().unwrap();
        if told.bytes.len() + bytes.len() > self.full_at {
            return Err(Error::new(ErrorKind::NoSpace, "the disk is full"));
        }
        told.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn restart(&mut self) -> Result<()> {
        let mut told = self.told.lock().unwrap();
        told.bytes.clear();
        told.restarts += 1;
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<()> {
        if let Some(barrier) = &self.together {
            barrier.wait();
        }
        let mut told = self.told.lock().unwrap();
        if digest(&told.bytes) != self.digest {
            return Err(Error::new(ErrorKind::DigestMismatch, "wrong bytes"));
        }
        told.finished = true;
        Ok(())
    }
}

fn request(bytes: &[u8]) -> (BlobRequest<'static>, Arc<Mutex<Told>>) {
    let told = Arc::new(Mutex::new(Told::default()));
    let sink = TestSink {
        told: told.clone(),
        digest: digest(bytes),
        full_at: usize::MAX,
        together: None,
    };
    let request = BlobRequest {
        digest: digest(bytes),
        size: bytes.len() as u64,
        sink: Box::new(sink),
    };
    (request, told)
}

fn fetch(registry: &FakeRegistry, blobs: Vec<BlobRequest<'_>>) -> Result<()> {
    let limits = Limits {
        retries: 3,
        first_pause: Duration::from_millis(1),
        connect: Duration::from_secs(5),
        stall: Duration::from_millis(500),
        ..Limits::default()
    };
    Registry::with_limits(&RegistryOptions::default(), limits).fetch(
        &registry.reference("app:1"),
        blobs,
        PARALLEL,
        &|_, _| {},
    )
}

/// Bytes without a period that a wrong offset could hide behind.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 1u32;
    (0..length)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .collect()
}

#[test]
fn blobs_of_all_sizes_arrive_whole() {
    let registry = FakeRegistry::start();
    let blobs: Vec<Vec<u8>> = [0, 1, 4096, 128 << 10, (128 << 10) + 1, 5 << 20]
        .into_iter()
        .map(noise)
        .collect();
    let (mut requests, mut all_told) = (Vec::new(), Vec::new());
    for blob in &blobs {
        registry.add_blob(blob.clone());
        let (request, told) = request(blob);
        requests.push(request);
        all_told.push(told);
    }
    fetch(&registry, requests).unwrap();
    for (blob, told) in blobs.iter().zip(&all_told) {
        let told = told.lock().unwrap();
        assert!(told.finished);
        assert_eq!(&told.bytes, blob);
    }
}

#[test]
fn sinks_work_at_the_same_time() {
    let registry = FakeRegistry::start();
    let together = Arc::new(Barrier::new(PARALLEL));
    let mut requests = Vec::new();
    for length in 1..=PARALLEL {
        let blob = noise(length);
        registry.add_blob(blob.clone());
        requests.push(BlobRequest {
            digest: digest(&blob),
            size: length as u64,
            sink: Box::new(TestSink {
                told: Arc::default(),
                digest: digest(&blob),
                full_at: usize::MAX,
                together: Some(together.clone()),
            }),
        });
    }
    // With one thread the barrier would never open.
    fetch(&registry, requests).unwrap();
}

#[test]
fn no_more_connections_than_asked_for() {
    let registry = FakeRegistry::start();
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let mut requests = Vec::new();
    for length in 0..9 {
        let blob = noise(1000 + length);
        registry.add_blob(blob.clone());
        let (mut request, _) = request(&blob);
        request.sink = Box::new(Counting {
            inner: request.sink,
            now: now.clone(),
            most: most.clone(),
            counted: false,
        });
        requests.push(request);
    }
    fetch(&registry, requests).unwrap();
    let cores = std::thread::available_parallelism().unwrap().get();
    assert!(most.load(Ordering::SeqCst) <= PARALLEL + cores);
    assert_eq!(now.load(Ordering::SeqCst), 0);
}

struct Counting {
    inner: Box<dyn BlobSink>,
    now: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
    counted: bool,
}

impl BlobSink for Counting {
    fn received(&self) -> u64 {
        self.inner.received()
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        if !std::mem::replace(&mut self.counted, true) {
            let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
            self.most.fetch_max(now, Ordering::SeqCst);
        }
        self.inner.write(bytes)
    }

    fn restart(&mut self) -> Result<()> {
        self.inner.restart()
    }

    fn finish(self: Box<Self>) -> Result<()> {
        let result = self.inner.finish();
        self.now.fetch_sub(1, Ordering::SeqCst);
        result
    }
}

#[test]
fn a_broken_body_is_continued_where_it_broke() {
    let registry = FakeRegistry::start();
    let blob = noise(700_000);
    registry.add_blob(blob.clone());
    let mut left = 2;
    let whole = blob.clone();
    registry.chaos(move |request| {
        left -= 1;
        (left >= 0).then(|| Reply {
            cut: Some(200_000),
            ..part(request, &whole)
        })
    });
    let (request, told) = request(&blob);
    fetch(&registry, vec![request]).unwrap();
    let told = told.lock().unwrap();
    assert!(told.finished && told.restarts == 0);
    let ranges: Vec<_> = registry
        .requests()
        .iter()
        .map(|request| request.header("range").map(str::to_owned))
        .collect();
    assert_eq!(
        ranges,
        [
            None,
            Some("bytes=200000-".to_owned()),
            Some("bytes=400000-".to_owned())
        ]
    );
}

/// At every single byte: what has arrived is kept, and asked for no more.
#[test]
fn a_connection_may_end_at_any_byte() {
    let registry = FakeRegistry::start();
    let blob = noise(120);
    registry.add_blob(blob.clone());
    for at in 0..=blob.len() {
        let (mut first, whole) = (true, blob.clone());
        registry.chaos(move |request| {
            std::mem::take(&mut first).then(|| Reply {
                cut: Some(at),
                ..part(request, &whole)
            })
        });
        let asked = registry.requests().len();
        let (request, told) = request(&blob);
        fetch(&registry, vec![request]).unwrap();
        assert!(told.lock().unwrap().finished);
        let ranges: Vec<_> = registry.requests()[asked..]
            .iter()
            .map(|request| request.header("range").map(str::to_owned))
            .collect();
        match at {
            0 => assert_eq!(ranges, [None, None]),
            _ if at == blob.len() => assert_eq!(ranges, [None]),
            _ => assert_eq!(ranges, [None, Some(format!("bytes={at}-"))]),
        }
    }
}

/// Somebody else fetches its blob; it has come when `other` is there.
struct Following {
    inner: TestSink,
    other: Arc<Barrier>,
    blob: Vec<u8>,
    brings: usize,
}

impl BlobSink for Following {
    fn open(&mut self) -> Result<Opening> {
        Ok(Opening::Elsewhere)
    }
    fn follow(&mut self, wanted: &dyn Fn() -> bool) -> Result<()> {
        self.other.wait();
        assert!(wanted());
        self.inner.write(&self.blob[..self.brings])
    }
    fn received(&self) -> u64 {
        self.inner.received()
    }
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.inner.write(bytes)
    }
    fn restart(&mut self) -> Result<()> {
        self.inner.restart()
    }
    fn finish(self: Box<Self>) -> Result<()> {
        Box::new(self.inner).finish()
    }
}

/// One line only, and the blob that somebody else brings comes first: it must not hold the line
/// while the other one, which it waits for here, is fetched.
#[test]
fn who_follows_another_download_needs_no_line() {
    for brings in [9000, 4000, 0] {
        let registry = FakeRegistry::start();
        let (large, small) = (noise(9000), noise(10));
        registry.add_blob(large.clone());
        registry.add_blob(small.clone());
        let barrier = Arc::new(Barrier::new(2));
        let told = [Arc::<Mutex<Told>>::default(), Arc::default()];
        let sink = |n: usize, blob: &[u8]| TestSink {
            told: told[n].clone(),
            digest: digest(blob),
            full_at: usize::MAX,
            together: None,
        };
        let follows = BlobRequest {
            digest: digest(&large),
            size: 9000,
            sink: Box::new(Following {
                inner: sink(0, &large),
                other: barrier.clone(),
                blob: large.clone(),
                brings,
            }),
        };
        let fetched = BlobRequest {
            digest: digest(&small),
            size: 10,
            sink: Box::new(TestSink {
                together: Some(barrier),
                ..sink(1, &small)
            }),
        };
        let registry_limits = Limits::default();
        Registry::with_limits(&RegistryOptions::default(), registry_limits)
            .fetch(
                &registry.reference("app:1"),
                vec![follows, fetched],
                1,
                &|_, _| {},
            )
            .unwrap();
        assert!(told.iter().all(|told| told.lock().unwrap().finished));
        let name = digest(&large).to_string();
        let ranges: Vec<_> = registry
            .requests()
            .iter()
            .filter(|request| request.path.ends_with(&name))
            .map(|request| request.header("range").map(str::to_owned))
            .collect();
        match brings {
            9000 => assert_eq!(ranges, []),
            0 => assert_eq!(ranges, [None]),
            _ => assert_eq!(ranges, [Some("bytes=4000-".to_owned())]),
        }
    }
}

#[test]
fn a_silent_body_is_continued_elsewhere() {
    let registry = FakeRegistry::start();
    let blob = noise(300_000);
    registry.add_blob(blob.clone());
    let (mut first, whole) = (true, blob.clone());
    registry.chaos(move |request| {
        std::mem::take(&mut first).then(|| Reply {
            stall: Some((100_000, Duration::from_secs(2))),
            ..part(request, &whole)
        })
    });
    let (request, told) = request(&blob);
    fetch(&registry, vec![request]).unwrap();
    assert!(told.lock().unwrap().finished);
    assert_eq!(
        registry.requests()[1].header("range"),
        Some("bytes=100000-")
    );
}

#[test]
fn a_server_that_ignores_ranges_makes_the_sink_restart() {
    let registry = FakeRegistry::start();
    let blob = noise(300_000);
    let (mut first, whole) = (true, blob.clone());
    registry.chaos(move |_| {
        Some(Reply {
            cut: std::mem::take(&mut first).then_some(100_000),
            ..Reply::ok(whole.clone())
        })
    });
    let (request, told) = request(&blob);
    fetch(&registry, vec![request]).unwrap();
    let told = told.lock().unwrap();
    assert!(told.finished);
    assert_eq!(told.restarts, 1);
}

#[test]
fn a_server_that_sends_another_part_or_none_is_asked_for_all() {
    for wrong in [
        Reply {
            status: 206,
            body: vec![0; 10],
            ..Reply::default()
        }
        .with("Content-Range", "bytes 5-14/300000"),
        Reply::status(416),
    ] {
        let registry = FakeRegistry::start();
        let blob = noise(300_000);
        registry.add_blob(blob.clone());
        registry.chaos(move |request| request.header("range").map(|_| wrong.clone()));
        let (request, told) = request(&blob);
        told.lock().unwrap().bytes = blob[..1000].to_vec();
        fetch(&registry, vec![request]).unwrap();
        let told = told.lock().unwrap();
        assert!(told.finished);
        assert_eq!(told.restarts, 1);
    }
}

#[test]
fn what_an_earlier_command_received_is_not_fetched_again() {
    let registry = FakeRegistry::start();
    let blob = noise(300_000);
    registry.add_blob(blob.clone());
    let (first, told) = request(&blob);
    told.lock().unwrap().bytes = blob[..299_999].to_vec();
    fetch(&registry, vec![first]).unwrap();
    assert!(told.lock().unwrap().finished);
    assert_eq!(
        registry.requests()[0].header("range"),
        Some("bytes=299999-")
    );

    let (second, told) = request(&blob);
    told.lock().unwrap().bytes = blob.clone();
    fetch(&registry, vec![second]).unwrap();
    assert!(told.lock().unwrap().finished);
    assert_eq!(registry.requests().len(), 1);

    // More than the blob can have: whatever it is, it is not this blob.
    let (third, told) = request(&blob);
    told.lock().unwrap().bytes = vec![0; 300_001];
    fetch(&registry, vec![third]).unwrap();
    assert_eq!(told.lock().unwrap().restarts, 1);
}

#[test]
fn a_line_that_always_breaks_is_given_up() {
    let registry = FakeRegistry::start();
    let blob = noise(300_000);
    let whole = blob.clone();
    registry.chaos(move |request| {
        Some(Reply {
            cut: Some(10),
            ..part(request, &whole)
        })
    });
    let (request, told) = request(&blob);
    let error = fetch(&registry, vec![request]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Registry);
    assert_eq!(registry.requests().len(), 4);
    let told = told.lock().unwrap();
    assert!(!told.finished);
    assert_eq!(told.bytes, blob[..40]);
}

#[test]
fn a_bad_line_may_still_finish_a_large_blob() {
    let registry = FakeRegistry::start();
    let blob = noise(9 << 20);
    let whole = blob.clone();
    registry.chaos(move |request| {
        Some(Reply {
            cut: Some((1 << 20) + 1),
            ..part(request, &whole)
        })
    });
    let (request, told) = request(&blob);
    fetch(&registry, vec![request]).unwrap();
    assert!(told.lock().unwrap().finished);
    assert_eq!(registry.requests().len(), 9);
}

#[test]
fn going_in_circles_is_no_progress() {
    let registry = FakeRegistry::start();
    let blob = noise(3 << 20);
    let whole = blob.clone();
    registry.chaos(move |_| {
        Some(Reply {
            cut: Some(2 << 20),
            ..Reply::ok(whole.clone())
        })
    });
    let (request, _) = request(&blob);
    assert!(fetch(&registry, vec![request]).is_err());
    assert!(registry.requests().len() <= 5);
}

#[test]
fn never_more_bytes_than_promised_nor_fewer() {
    let registry = FakeRegistry::start();
    let blob = noise(1000);
    for (body, unknown_length) in [
        (noise(1001), false),
        (noise(2 << 20), true),
        (noise(999), false),
    ] {
        let said = body.clone();
        registry.chaos(move |_| {
            Some(Reply {
                unknown_length,
                ..Reply::ok(said.clone())
            })
        });
        let (request, told) = request(&blob);
        let error = fetch(&registry, vec![request]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::DigestMismatch, "{error}");
        let told = told.lock().unwrap();
        assert!(told.bytes.len() <= 1000 && !told.finished);
    }
}

#[test]
fn the_sink_s_complaint_is_the_error_and_the_others_stop() {
    let registry = FakeRegistry::start();
    let (good, bad) = (noise(8 << 20), noise(6 << 20));
    registry.add_blob(good.clone());
    registry.add_blob(bad.clone());
    let (first, _) = request(&good);
    let (mut second, _) = request(&bad);
    second.sink = Box::new(TestSink {
        told: Arc::default(),
        digest: digest(&bad),
        full_at: 1 << 20,
        together: None,
    });
    let error = fetch(&registry, vec![first, second]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoSpace);

    let (wrong, told) = request(&good);
    let lie = noise(8 << 20).into_iter().rev().collect::<Vec<u8>>();
    registry.chaos(move |_| Some(Reply::ok(lie.clone())));
    let error = fetch(&registry, vec![wrong]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DigestMismatch);
    assert!(!told.lock().unwrap().finished);
}

#[test]
fn a_small_blob_is_verified() {
    let registry = FakeRegistry::start();
    let config = registry.add_blob("{}");
    let client = Registry::new(&RegistryOptions::default());
    let reference = registry.reference("app:1");
    let small = |digest: &Digest, size| client.small_blob(&reference, digest, size, &|_, _| {});
    assert_eq!(small(&config, 2).unwrap(), b"{}");
    let error = small(&config, (4 << 20) + 1).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidContent);
    let missing = small(&digest(b"x"), 1).unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFoundInRegistry);
    registry.chaos(|_| Some(Reply::ok("[]")));
    let error = small(&config, 2).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DigestMismatch);
}
