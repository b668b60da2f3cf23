//! A disk that remembers every write and every flush in order, so that it can be had as it would
//! be after a power cut at any moment.
//!
//! The kernel's own means for this (dm-log-writes) is in few kernels, so this is a file system of
//! one file, spoken over /dev/fuse (linux/fuse.h, protocol 7.31): `disk`, which the caller mounts
//! through a loop device. The loop driver hands a flush on as FUSE_FSYNC, and writes come one by
//! one, since the write-back cache is not asked for.

use std::{
    collections::BTreeSet,
    fs::File,
    io::{Read, Write},
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::fs::FileExt,
    },
    path::Path,
    sync::{Arc, Mutex},
    thread::JoinHandle,
};

/// What ext4 and this disk write in one piece.
const BLOCK: usize = 4096;
const MAX_WRITE: usize = 128 << 10;

enum Event {
    Write(usize, Vec<u8>),
    Flush,
}

pub struct Disk {
    base: Vec<u8>,
    log: Arc<Mutex<Vec<Event>>>,
    server: Option<JoinHandle<()>>,
    /// For `mount -t fuse -o fd=…`, inherited by whoever is started.
    device: Option<OwnedFd>,
}

impl Disk {
    /// A disk with this content; `None` if there is no /dev/fuse for us.
    pub fn new(base: Vec<u8>) -> Option<Disk> {
        let device = File::options()
            .read(true)
            .write(true)
            .open("/dev/fuse")
            .ok()?;
        let mut server = Server {
            device: device.try_clone().ok()?,
            content: base.clone(),
            log: Arc::default(),
        };
        let log = server.log.clone();
        let device = OwnedFd::from(device);
        rustix::io::fcntl_setfd(&device, rustix::io::FdFlags::empty()).unwrap();
        Some(Disk {
            base,
            log,
            server: Some(std::thread::spawn(move || server.serve())),
            device: Some(device),
        })
    }

    /// Options for mount(8); the file system has one file, `disk`.
    pub fn mount_options(&self) -> String {
        let fd = self.device.as_ref().unwrap().as_raw_fd();
        format!("fd={fd},rootmode=40000,user_id=0,group_id=0")
    }

    /// How many writes and flushes there were so far.
    pub fn moment(&self) -> usize {
        self.log.lock().unwrap().len()
    }

    /// The content after a power cut at that moment: what was flushed before is there. Of what was
    /// written since then, each block only if `survives` says so.
    pub fn cut(&self, moment: usize, mut survives: impl FnMut() -> bool, to: &Path) {
        let log = self.log.lock().unwrap();
        let flushed = log[..moment]
            .iter()
            .rposition(|event| matches!(event, Event::Flush))
            .unwrap_or(0);
        let mut content = self.base.clone();
        let mut dirty = BTreeSet::new();
        for (n, event) in log[..moment].iter().enumerate() {
            let Event::Write(offset, bytes) = event else {
                continue;
            };
            for (i, piece) in bytes.chunks(BLOCK).enumerate() {
                let at = offset + i * BLOCK;
                if n < flushed || survives() {
                    content[at..at + piece.len()].copy_from_slice(piece);
                    dirty.insert(at / BLOCK);
                }
            }
        }
        let file = File::create(to).unwrap();
        file.set_len(content.len() as u64).unwrap();
        for (n, block) in content.chunks(BLOCK).enumerate() {
            if block.iter().any(|byte| *byte != 0) {
                file.write_all_at(block, (n * BLOCK) as u64).unwrap();
            }
        }
    }

    /// Waits until the file system has been unmounted.
    pub fn join(&mut self) {
        self.device = None;
        if let Some(server) = self.server.take() {
            server.join().unwrap();
        }
    }
}

struct Server {
    device: File,
    content: Vec<u8>,
    log: Arc<Mutex<Vec<Event>>>,
}

const ROOT: u64 = 1;
const DISK: u64 = 2;

/// Numbers of a request or reply, one after the other.
struct Fields(Vec<u8>);

impl Fields {
    fn new() -> Fields {
        Fields(Vec::new())
    }

    fn u64(mut self, values: &[u64]) -> Fields {
        self.0
            .extend(values.iter().flat_map(|value| value.to_ne_bytes()));
        self
    }

    fn u32(mut self, values: &[u32]) -> Fields {
        self.0
            .extend(values.iter().flat_map(|value| value.to_ne_bytes()));
        self
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_ne_bytes(bytes[at..at + 8].try_into().unwrap())
}

impl Server {
    fn serve(&mut self) {
        let mut request = vec![0; MAX_WRITE + BLOCK];
        loop {
            let length = match self.device.read(&mut request) {
                Ok(length) => length,
                Err(error) => match error.raw_os_error() {
                    // Not mounted yet.
                    Some(libc::EPERM) => {
                        std::thread::sleep(std::time::Duration::from_millis(5));
                        continue;
                    }
                    Some(libc::EINTR | libc::EAGAIN | libc::ENOENT) => continue,
                    // ENODEV: unmounted.
                    _ => return,
                },
            };
            let request = &request[..length];
            let (opcode, unique, node) =
                (u32_at(request, 4), u64_at(request, 8), u64_at(request, 16));
            // FORGET, INTERRUPT and BATCH_FORGET want no answer.
            if matches!(opcode, 2 | 36 | 42) {
                continue;
            }
            let answer = self.answer(opcode, node, &request[40..]);
            let (error, body) = match answer {
                Ok(fields) => (0, fields.0),
                Err(errno) => (-errno, Vec::new()),
            };
            let mut reply = Vec::new();
            reply.extend((16 + body.len() as u32).to_ne_bytes());
            reply.extend(error.to_ne_bytes());
            reply.extend(unique.to_ne_bytes());
            reply.extend(body);
            let _ = self.device.write_all(&reply);
        }
    }

    fn answer(&mut self, opcode: u32, node: u64, body: &[u8]) -> Result<Fields, i32> {
        match opcode {
            // LOOKUP
            1 if body == b"disk\0" => {
                let entry = Fields::new().u64(&[DISK, 0, 3600, 3600]).u32(&[0, 0]);
                Ok(self.attributes(entry, DISK))
            }
            1 => Err(libc::ENOENT),
            // GETATTR, SETATTR
            3 | 4 => Ok(self.attributes(Fields::new().u64(&[3600]).u32(&[0, 0]), node)),
            // OPEN, OPENDIR
            14 | 27 => Ok(Fields::new().u64(&[0]).u32(&[0, 0])),
            // READ
            15 => {
                let (from, size) = (u64_at(body, 8) as usize, u32_at(body, 16) as usize);
                let end = (from + size).min(self.content.len());
                Ok(Fields(self.content[from.min(end)..end].to_vec()))
            }
            // WRITE
            16 => {
                let (offset, size) = (u64_at(body, 8) as usize, u32_at(body, 16) as usize);
                let bytes = &body[40..40 + size];
                let place = self.content.get_mut(offset..offset + size);
                place.ok_or(libc::ENOSPC)?.copy_from_slice(bytes);
                let mut log = self.log.lock().unwrap();
                log.push(Event::Write(offset, bytes.to_vec()));
                Ok(Fields::new().u32(&[size as u32, 0]))
            }
            // FSYNC
            20 => {
                self.log.lock().unwrap().push(Event::Flush);
                Ok(Fields::new())
            }
            // RELEASE, FLUSH, RELEASEDIR, ACCESS, DESTROY
            18 | 25 | 29 | 34 | 38 => Ok(Fields::new()),
            // INIT: big writes, nothing else.
            26 => Ok(Fields::new()
                .u32(&[7, 31, 0, 1 << 5, 0, MAX_WRITE as u32, 1, 0, 0])
                .u32(&[0; 7])),
            _ => Err(libc::ENOSYS),
        }
    }

    fn attributes(&self, reply: Fields, node: u64) -> Fields {
        let (mode, size) = match node {
            ROOT => (libc::S_IFDIR | 0o700, 0),
            _ => (libc::S_IFREG | 0o600, self.content.len() as u64),
        };
        reply.u64(&[node, size, size / 512, 0, 0, 0]).u32(&[
            0,
            0,
            0,
            mode,
            1,
            0,
            0,
            0,
            BLOCK as u32,
            0,
        ])
    }
}
