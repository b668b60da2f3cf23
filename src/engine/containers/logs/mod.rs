//! `logs`: reads what supervisors wrote ([`records`] in [`reader`]'s files), of several containers
//! one after the other, or as it comes.
//!
//! Following waits for one of the folders to change (inotify(7): a file grew, or came by a rotation)
//! or for a supervisor to say that a run has ended. The watches begin before the first read, and
//! after an end the rest is read, so nothing is lost in between. A container that its supervisor
//! starts anew is followed on.

mod reader;
pub mod records;
#[cfg(test)]
mod tests;

use std::{
    io,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::inotify,
    io::Errno,
};

use self::reader::LogReader;
use super::ending::{Ending, Watch};
use crate::{
    engine::{Engine, LogOptions, LogSink},
    model::{
        ContainerId, Context, Error, ErrorKind, Result,
        container::{ContainerRecord, ContainerState},
        log::LogDriver,
    },
    storage::{ContainerDir, Store},
};

impl Engine {
    /// Hands the wanted records to `sink`: of one container after the other, or, with `follow`, as
    /// they come, until the last one has ended.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] if a container keeps no log that can be read, and those of `sink`.
    pub fn logs(
        &self,
        containers: &[String],
        options: &LogOptions,
        sink: &mut dyn LogSink,
    ) -> Result<()> {
        let mut sources = Vec::with_capacity(containers.len());
        for name in containers {
            sources.push(Source::open(&self.store, name, options)?);
        }
        let named: Vec<_> = sources.iter().map(Source::names).collect();
        sink.begin(&named);
        if options.follow {
            return follow(&mut sources, sink);
        }
        for (number, source) in sources.iter_mut().enumerate() {
            source.reader.read_on(number, sink)?;
        }
        sink.pause()
    }
}

/// One container's log.
struct Source<'a> {
    store: &'a Store,
    name: String,
    directory: ContainerDir,
    reader: LogReader,
    /// Tells that its folder has changed; only if it is followed.
    changes: Option<OwnedFd>,
    /// Somebody looks after the container, and may write.
    watch: Option<Watch>,
}

impl<'a> Source<'a> {
    fn open(store: &'a Store, name: &str, options: &LogOptions) -> Result<Source<'a>> {
        let (directory, record) = store.find_container(name)?;
        check_readable(&record)?;
        let logging = &record.spec.logging;
        let path = logging.options.get("path").map(String::as_str);
        let files = directory.log_files(path)?;
        let (mut watch, mut changes) = (None, None);
        if options.follow {
            let folder = files.directory();
            let watched =
                watch_folder(folder).system(|| "cannot watch the container's log".to_owned());
            changes = Some(watched?);
            watch = Watch::begin(store, &directory)?;
            if !may_write(&directory)? {
                watch = None;
            }
        }
        let reader = LogReader::new(files, logging.driver, options)?;
        Ok(Source {
            store,
            name: record.name,
            directory,
            reader,
            changes,
            watch,
        })
    }

    fn names(&self) -> (ContainerId, String) {
        (self.directory.id().clone(), self.name.clone())
    }

    /// Reads what is there. Whether there may be more.
    fn advance(&mut self, number: usize, sink: &mut dyn LogSink) -> Result<bool> {
        // Asked before the last read: what was written before the end is read after it.
        let mut alive = self.watch.is_some();
        if let Some(watch) = &mut self.watch
            && watch.wait(Some(Duration::ZERO))? != Ending::NotYet
        {
            // Begun before the state is looked at, as ever.
            let next = Watch::begin(self.store, &self.directory)?;
            self.watch = next.filter(|_| may_write(&self.directory).unwrap_or(false));
            alive = self.watch.is_some();
        }
        let wanted = self.reader.read_on(number, sink)?;
        if !wanted || !alive || self.reader.time_left().is_none() {
            self.watch = None;
            self.changes = None;
        }
        Ok(self.watch.is_some())
    }
}

/// Whether a supervisor lets the container write, or will.
fn may_write(directory: &ContainerDir) -> Result<bool> {
    let state = directory.state()?.state;
    Ok(matches!(
        state,
        ContainerState::Running | ContainerState::Paused | ContainerState::Restarting
    ))
}

fn check_readable(record: &ContainerRecord) -> Result<()> {
    let driver = record.spec.logging.driver;
    if driver.has_files() {
        return Ok(());
    }
    let error = Error::new(
        ErrorKind::Unsupported,
        format!(
            "configured logging driver does not support reading: container {} has --log-driver {}",
            record.name,
            driver.name()
        ),
    );
    Err(match driver {
        LogDriver::Journald => error.with_hint(format!(
            "journalctl CONTAINER_ID={} shows what it has written",
            record.id.short()
        )),
        _ => error,
    })
}

fn follow(sources: &mut [Source<'_>], sink: &mut dyn LogSink) -> Result<()> {
    let mut open = vec![true; sources.len()];
    loop {
        for (number, source) in sources.iter_mut().enumerate() {
            if open[number] {
                open[number] = source.advance(number, sink)?;
            }
        }
        sink.pause()?;
        if !open.contains(&true) {
            return Ok(());
        }
        wait_for_more(sources)?;
    }
}

/// A folder may have no name any more (its container removes itself): watched by its descriptor.
fn watch_folder(folder: &OwnedFd) -> io::Result<OwnedFd> {
    use inotify::WatchFlags;
    let flags = inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK;
    let changes = inotify::init(flags)?;
    let path = format!("/proc/self/fd/{}", folder.as_raw_fd());
    let wanted = WatchFlags::MODIFY | WatchFlags::CREATE | WatchFlags::MOVED_TO;
    inotify::add_watch(&changes, path, wanted)?;
    Ok(changes)
}

/// Returns when a folder has changed, the time is over or a run may have ended.
fn wait_for_more(sources: &[Source<'_>]) -> Result<()> {
    let what = || "cannot wait for the container's log".to_owned();
    let mut descriptors = Vec::with_capacity(2 * sources.len());
    let mut left: Option<Duration> = None;
    for source in sources {
        let (Some(changes), Some(watch)) = (&source.changes, &source.watch) else {
            continue;
        };
        descriptors.push(PollFd::new(changes, PollFlags::IN));
        if let Some(end) = watch.descriptor() {
            descriptors.push(PollFd::from_borrowed_fd(end, PollFlags::IN));
        }
        if let Some(Some(limit)) = source.reader.time_left() {
            left = Some(left.map_or(limit, |left| left.min(limit)));
        }
    }
    let limit = left.map(|left| Timespec {
        tv_sec: left.as_secs().try_into().unwrap_or(i64::MAX),
        tv_nsec: left.subsec_nanos().into(),
    });
    match poll(&mut descriptors, limit.as_ref()) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(errno) => return Err(errno).system(what),
    }
    for changes in sources.iter().filter_map(|source| source.changes.as_ref()) {
        // What the events say is known: something was written.
        match rustix::io::read(changes.as_fd(), &mut [0_u8; 4096]) {
            Ok(_) | Err(Errno::AGAIN | Errno::INTR) => {}
            Err(errno) => return Err(errno).system(what),
        }
    }
    Ok(())
}
