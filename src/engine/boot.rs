//! `system boot`: has an init system call `system resume` when the machine has started.
//!
//! systemd gets one unit, a oneshot that stays active, and the link that `systemctl enable` would
//! make. No program is executed for it: systemd reads both when it starts, which is when they are
//! needed. The supervisors are in the unit's control group; when it is stopped (the machine goes
//! down) they get SIGTERM, pass it on and start nothing again, so that it needs no command that
//! stops. For other inits the user is told what to write where.
//!
//! The unit appears by a rename, the link after it: a link without a unit never is.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    str::FromStr,
};

use super::{Engine, containers::absolute};
use crate::model::{
    Context, Error, ErrorKind, Result,
    host::{UserMode, user_name},
};

const UNIT: &str = "coracle-resume.service";
const TARGET: &str = "default.target.wants";
/// The first line, by which our file is known.
const MARK: &str =
    "# Made by `coracle system boot enable`, removed by `coracle system boot disable`.";

/// Whose boot it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Init {
    Systemd,
    Cron,
    OpenRc,
    Runit,
}

impl FromStr for Init {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Ok(match text {
            "systemd" => Init::Systemd,
            "cron" => Init::Cron,
            "openrc" => Init::OpenRc,
            "runit" => Init::Runit,
            _ => {
                return Err(Error::invalid(format!(
                    "invalid init {text:?}: use systemd, cron, openrc or runit"
                )));
            }
        })
    }
}

/// What the command line knows.
#[derive(Clone, Debug, Default)]
pub struct BootOptions {
    /// `None`: systemd if this machine was started by it.
    pub init: Option<Init>,
    /// The user's folder of configurations, absolute; not needed for root.
    pub config_home: Option<PathBuf>,
}

/// What was done, or what is left to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Boot {
    /// The unit is there.
    Unit {
        path: PathBuf,
        /// The user for whom it is not read before she logs in.
        without_lingering: Option<String>,
        /// Of root, whose manager is another.
        of_root: bool,
    },
    /// For another init: what to write, a line each, comments included.
    ByHand(Vec<String>),
    /// There is no unit (any more).
    None,
}

impl Engine {
    /// Makes the unit, or says what to do for another init. Doing it again changes nothing.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] if somebody else has made a unit of this name.
    pub fn enable_boot(&self, options: &BootOptions) -> Result<Boot> {
        let command = self.resume_command()?;
        let is_root = *self.user.mode() == UserMode::Root;
        let init = match options.init {
            Some(init) => init,
            None if started_by_systemd() => Init::Systemd,
            None => return Ok(Boot::ByHand(self.other_inits(&command))),
        };
        if init != Init::Systemd {
            return Ok(Boot::ByHand(by_hand(
                init,
                &command,
                &self.own_name(),
                is_root,
            )));
        }
        let folder = self.unit_folder(options)?;
        install(&folder, &unit(&command, is_root))?;
        Ok(self.unit_at(&folder))
    }

    /// Removes the unit. One that is not there is removed already.
    ///
    /// # Errors
    /// As [`Self::enable_boot`].
    pub fn disable_boot(&self, options: &BootOptions) -> Result<Boot> {
        remove(&self.unit_folder(options)?)?;
        Ok(Boot::None)
    }

    pub fn boot_status(&self, options: &BootOptions) -> Result<Boot> {
        let folder = self.unit_folder(options)?;
        let is_ours = matches!(owner(&folder.join(UNIT))?, Owner::Ours);
        let is_linked = folder.join(TARGET).join(UNIT).exists();
        Ok(if is_ours && is_linked {
            self.unit_at(&folder)
        } else {
            Boot::None
        })
    }

    fn unit_at(&self, folder: &Path) -> Boot {
        let of_root = *self.user.mode() == UserMode::Root;
        let name = self.own_name();
        // logind's: one empty file a user.
        let lingers = of_root || Path::new("/var/lib/systemd/linger").join(&name).exists();
        Boot::Unit {
            path: folder.join(UNIT),
            without_lingering: (!lingers).then_some(name),
            of_root,
        }
    }

    fn unit_folder(&self, options: &BootOptions) -> Result<PathBuf> {
        if *self.user.mode() == UserMode::Root {
            return Ok("/etc/systemd/system".into());
        }
        match &options.config_home {
            Some(home) => Ok(home.join("systemd/user")),
            None => Err(
                Error::invalid("cannot tell where units belong: HOME is not set")
                    .with_hint("set HOME or XDG_CONFIG_HOME"),
            ),
        }
    }

    /// This program, with this store.
    fn resume_command(&self) -> Result<Vec<String>> {
        let what = || "cannot find this program's own file".to_owned();
        let program = std::env::current_exe().system(what)?;
        if !program.exists() {
            return Err(Error::new(ErrorKind::Conflict, what())
                .with_hint("it was replaced while it ran: try again"));
        }
        let text = |path: &Path| path.display().to_string();
        Ok(vec![
            text(&program),
            "--root".to_owned(),
            text(&absolute(self.store.root_path())?),
            "--runroot".to_owned(),
            text(&absolute(self.store.runroot_path())?),
            "system".to_owned(),
            "resume".to_owned(),
        ])
    }

    fn other_inits(&self, command: &[String]) -> Vec<String> {
        let is_root = *self.user.mode() == UserMode::Root;
        let name = self.own_name();
        [Init::Cron, Init::OpenRc, Init::Runit]
            .into_iter()
            .flat_map(|init| by_hand(init, command, &name, is_root))
            .collect()
    }

    fn own_name(&self) -> String {
        let passwd = fs::read("/etc/passwd").unwrap_or_default();
        user_name(&passwd, self.user.uid()).unwrap_or_else(|| self.user.uid().to_string())
    }
}

/// sd_booted(3)
fn started_by_systemd() -> bool {
    Path::new("/run/systemd/system").is_dir()
}

fn unit(command: &[String], is_root: bool) -> String {
    let words: Vec<String> = command.iter().map(|word| systemd_word(word)).collect();
    let network = if is_root {
        "Wants=network-online.target\nAfter=network-online.target\n"
    } else {
        ""
    };
    // Without quotes: the files of a store with such a name are waited for by nobody.
    let folders = [&command[2], &command[4]].map(String::as_str);
    let mounts = if folders.iter().all(|folder| is_plain(folder)) {
        format!("RequiresMountsFor={}\n", folders.join(" "))
    } else {
        String::new()
    };
    format!(
        "{MARK}\n\
         [Unit]\n\
         Description=Containers of Coracle with a restart policy\n\
         {network}{mounts}\n\
         [Service]\n\
         Type=oneshot\n\
         RemainAfterExit=yes\n\
         ExecStart={command}\n\
         # Whoever looks after a container stops it when it gets SIGTERM, and ends with it.\n\
         KillMode=control-group\n\
         TimeoutStopSec=30\n\
         # Containers have limits of their own.\n\
         TasksMax=infinity\n\
         OOMPolicy=continue\n\
         Delegate=yes\n\
         \n\
         [Install]\n\
         WantedBy=default.target\n",
        command = words.join(" "),
    )
}

fn is_plain(word: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-./@:,+=".contains(&byte);
    !word.is_empty() && word.bytes().all(plain)
}

/// systemd.service(5), "Command lines"
fn systemd_word(word: &str) -> String {
    if is_plain(word) {
        return word.to_owned();
    }
    let mut quoted = String::from("\"");
    for character in word.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            '%' | '$' => quoted.extend([character, character]),
            '\n' => quoted.push_str("\\n"),
            _ => quoted.push(character),
        }
    }
    quoted + "\""
}

fn shell_word(word: &str) -> String {
    if is_plain(word) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

fn by_hand(init: Init, command: &[String], user: &str, is_root: bool) -> Vec<String> {
    let words: Vec<String> = command.iter().map(|word| shell_word(word)).collect();
    let line = words.join(" ");
    // Their scripts are root's.
    let as_user = if is_root {
        line.clone()
    } else {
        format!("su -s /bin/sh {user} -c {}", shell_word(&line))
    };
    match init {
        Init::Systemd => Vec::new(),
        Init::Cron => vec![
            "# cron: with `crontab -e`".to_owned(),
            format!("@reboot {}", line.replace('%', r"\%")),
        ],
        Init::OpenRc => vec![
            "# OpenRC: in /etc/local.d/coracle.start (executable), with `rc-update add local`"
                .to_owned(),
            as_user,
        ],
        Init::Runit => vec!["# runit: in /etc/rc.local".to_owned(), as_user],
    }
}

enum Owner {
    Nobody,
    Ours,
    Another,
}

fn owner(unit: &Path) -> Result<Owner> {
    match fs::read_to_string(unit) {
        Ok(text) if text.starts_with(MARK) => Ok(Owner::Ours),
        Ok(_) => Ok(Owner::Another),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Owner::Nobody),
        Err(error) => Err(error).system(|| format!("cannot read {}", unit.display())),
    }
}

fn refuse_another(unit: &Path) -> Result<Owner> {
    match owner(unit)? {
        Owner::Another => Err(Error::new(
            ErrorKind::Conflict,
            format!("{} is there and was not made by coracle", unit.display()),
        )
        .with_hint("remove it first, if nothing else needs it")),
        other => Ok(other),
    }
}

fn install(folder: &Path, text: &str) -> Result<()> {
    let unit = folder.join(UNIT);
    let what = || format!("cannot make {}", unit.display());
    refuse_another(&unit)?;
    let wants = folder.join(TARGET);
    fs::create_dir_all(&wants).system(what)?;
    let staged = folder.join(format!(".{UNIT}.{}", std::process::id()));
    // Everybody may read what starts with the machine; nothing in it is secret.
    let appeared = fs::write(&staged, text)
        .and_then(|()| fs::set_permissions(&staged, PermissionsExt::from_mode(0o644)))
        .and_then(|()| fs::rename(&staged, &unit));
    appeared
        .inspect_err(|_| drop(fs::remove_file(&staged)))
        .system(what)?;
    let link = wants.join(UNIT);
    match std::os::unix::fs::symlink(&unit, &link) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other.system(|| format!("cannot make {}", link.display())),
    }
}

fn remove(folder: &Path) -> Result<()> {
    let unit = folder.join(UNIT);
    refuse_another(&unit)?;
    for path in [folder.join(TARGET).join(UNIT), unit] {
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(error).system(|| format!("cannot remove {}", path.display()));
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(root: &str) -> Vec<String> {
        let words = [
            "/usr/bin/coracle",
            "--root",
            root,
            "--runroot",
            "/run/coracle",
        ];
        let words = words.iter().chain(&["system", "resume"]);
        words.map(ToString::to_string).collect()
    }

    #[test]
    fn the_unit_of_root() {
        let expected = "\
# Made by `coracle system boot enable`, removed by `coracle system boot disable`.
[Unit]
Description=Containers of Coracle with a restart policy
Wants=network-online.target
After=network-online.target
RequiresMountsFor=/var/lib/coracle /run/coracle

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/bin/coracle --root /var/lib/coracle --runroot /run/coracle system resume
# Whoever looks after a container stops it when it gets SIGTERM, and ends with it.
KillMode=control-group
TimeoutStopSec=30
# Containers have limits of their own.
TasksMax=infinity
OOMPolicy=continue
Delegate=yes

[Install]
WantedBy=default.target
";
        assert_eq!(unit(&command("/var/lib/coracle"), true), expected);
    }

    #[test]
    fn odd_paths_stay_one_word() {
        let text = unit(&command("/home/a b/100%/\"$x\""), false);
        let line = r#"ExecStart=/usr/bin/coracle --root "/home/a b/100%%/\"$$x\"" --runroot /run/coracle system resume"#;
        assert!(text.lines().any(|other| other == line), "{text}");
        assert!(!text.contains("RequiresMountsFor"), "{text}");
        let lines = by_hand(Init::Cron, &command("/it's 1%"), "me", false);
        assert_eq!(
            lines[1],
            r"@reboot /usr/bin/coracle --root '/it'\''s 1\%' --runroot /run/coracle system resume"
        );
        let lines = by_hand(Init::Runit, &command("/r"), "me", false);
        assert_eq!(
            lines[1],
            "su -s /bin/sh me -c '/usr/bin/coracle --root /r --runroot /run/coracle system resume'"
        );
    }

    #[test]
    fn installing_twice_and_removing_twice_is_once() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("systemd/user");
        for text in [unit(&command("/one"), false), unit(&command("/two"), false)] {
            install(&folder, &text).unwrap();
            let link = folder.join(TARGET).join(UNIT);
            assert_eq!(fs::read_to_string(link).unwrap(), text);
        }
        let left = || fs::read_dir(&folder).unwrap().count();
        assert_eq!(left(), 2);
        remove(&folder).unwrap();
        remove(&folder).unwrap();
        assert_eq!(left(), 1);
    }

    #[test]
    fn the_unit_of_another_stays() {
        let place = tempfile::tempdir().unwrap();
        let unit = place.path().join(UNIT);
        fs::write(&unit, "[Unit]\n").unwrap();
        for refused in [install(place.path(), MARK), remove(place.path())] {
            assert_eq!(refused.unwrap_err().kind(), ErrorKind::Conflict);
        }
        assert_eq!(fs::read_to_string(&unit).unwrap(), "[Unit]\n");
    }
}
