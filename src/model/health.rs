//! Whether a container is well: what is asked of the image's `HEALTHCHECK` and of `--health-*`,
//! what follows from both, and what was found.
//!
//! Three shapes: [`HealthConfig`] is written by users and images, with gaps; [`HealthCheck`] is
//! what will be done, without; [`HealthRecord`] is what has been found, for other commands.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

use super::{Error, Result, image::ProcessDefaults};

/// Docker's `Healthcheck`, of an image's configuration and of `inspect`. Durations are nanoseconds;
/// what is 0 or missing is left to whoever is asked next: the image, then the defaults.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct HealthConfig {
    /// `["NONE"]`, `["CMD", PROGRAM, …]` or `["CMD-SHELL", LINE]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test: Option<Vec<String>>,
    #[serde(skip_serializing_if = "is_zero")]
    pub interval: i64,
    #[serde(skip_serializing_if = "is_zero")]
    pub timeout: i64,
    /// Failures of a container that was never well do not count so long.
    #[serde(skip_serializing_if = "is_zero")]
    pub start_period: i64,
    /// Instead of `interval` in the start period.
    #[serde(skip_serializing_if = "is_zero")]
    pub start_interval: i64,
    /// Failures in a row that make a container unhealthy.
    #[serde(skip_serializing_if = "is_zero")]
    pub retries: i64,
}

fn is_zero(number: &i64) -> bool {
    *number == 0
}

/// What the user asks for; what is not said is as the image says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HealthSpec {
    #[serde(skip_serializing_if = "is_default")]
    pub config: HealthConfig,
    /// `--health-interval disable`: only `healthcheck run` checks.
    #[serde(skip_serializing_if = "is_default")]
    pub by_hand: bool,
    #[serde(skip_serializing_if = "is_default")]
    pub on_failure: OnFailure,
    #[serde(skip_serializing_if = "is_default")]
    pub startup: StartupConfig,
    /// Results that are kept; 0 is [`MOST_RESULTS`].
    #[serde(skip_serializing_if = "is_default")]
    pub log_count: Option<u32>,
    /// Bytes of output that are kept of each; 0 is [`MOST_OUTPUT`].
    #[serde(skip_serializing_if = "is_default")]
    pub log_size: Option<u32>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Podman's startup probe: as long as it has not succeeded, the health check waits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct StartupConfig {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test: Option<Vec<String>>,
    #[serde(skip_serializing_if = "is_zero")]
    pub interval: i64,
    #[serde(skip_serializing_if = "is_zero")]
    pub timeout: i64,
    /// Failures in a row after which the container is started anew; 0 is never.
    pub retries: u32,
    /// Successes that are needed; 0 is one.
    pub success: u32,
}

/// What is done with a container that has become unhealthy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnFailure {
    #[default]
    None,
    Kill,
    Restart,
    Stop,
}

impl FromStr for OnFailure {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Ok(match text {
            "none" | "" => OnFailure::None,
            "kill" => OnFailure::Kill,
            "restart" => OnFailure::Restart,
            "stop" => OnFailure::Stop,
            _ => {
                return Err(Error::invalid(format!(
                    "invalid on-failure action {text:?} of the health check: use one of none, kill, restart or stop"
                )));
            }
        })
    }
}

impl fmt::Display for OnFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            OnFailure::None => "none",
            OnFailure::Kill => "kill",
            OnFailure::Restart => "restart",
            OnFailure::Stop => "stop",
        })
    }
}

/// A program that is run in the container: well if it ends with 0.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// The program and its arguments.
    pub command: Vec<String>,
    pub interval: Duration,
    /// After which it is killed, and has failed.
    pub timeout: Duration,
}

/// A health check without gaps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthCheck {
    pub probe: Probe,
    pub start_period: Duration,
    pub start_interval: Duration,
    /// At least 1.
    pub retries: u32,
    pub startup: Option<StartupCheck>,
    pub on_failure: OnFailure,
    pub by_hand: bool,
    /// How many results are kept.
    pub results: usize,
    /// How many bytes of output are kept of each.
    pub output: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartupCheck {
    pub probe: Probe,
    /// 0 is never.
    pub retries: u32,
    /// At least 1.
    pub successes: u32,
}

/// "No limit" of `--health-max-log-count`: a supervisor holds them in memory.
pub const MOST_RESULTS: usize = 1000;
/// "No limit" of `--health-max-log-size`.
pub const MOST_OUTPUT: usize = 64 << 10;

/// Docker's defaults.
const INTERVAL: Duration = Duration::from_secs(30);
const TIMEOUT: Duration = Duration::from_secs(30);
const START_INTERVAL: Duration = Duration::from_secs(5);
const RETRIES: u32 = 3;
const RESULTS: usize = 5;
const OUTPUT: usize = 4096;
/// Nothing is repeated faster, whatever an image says.
const SHORTEST: Duration = Duration::from_millis(1);

impl HealthConfig {
    /// That of an image. One of another shape counts as none.
    pub fn of_image(image: &ProcessDefaults) -> Option<HealthConfig> {
        let value = image.extra.get("Healthcheck")?;
        Deserialize::deserialize(value).ok()
    }

    /// Docker's rules for what a user gives.
    pub fn check(&self) -> Result<()> {
        let shortest = SHORTEST.as_nanos() as i64;
        for (name, value) in [
            ("Interval", self.interval),
            ("Timeout", self.timeout),
            ("StartPeriod", self.start_period),
            ("StartInterval", self.start_interval),
        ] {
            if value != 0 && value < shortest {
                return Err(Error::invalid(format!(
                    "{name} in Healthcheck cannot be less than 1ms"
                )));
            }
        }
        if self.retries < 0 {
            return Err(Error::invalid("Retries in Healthcheck cannot be negative"));
        }
        Ok(())
    }

    /// This one, with its gaps filled from what lies below it.
    #[must_use]
    pub fn over(&self, below: &HealthConfig) -> HealthConfig {
        let number = |above: i64, below: i64| if above == 0 { below } else { above };
        HealthConfig {
            test: self.test.clone().or_else(|| below.test.clone()),
            interval: number(self.interval, below.interval),
            timeout: number(self.timeout, below.timeout),
            start_period: number(self.start_period, below.start_period),
            start_interval: number(self.start_interval, below.start_interval),
            retries: number(self.retries, below.retries),
        }
    }
}

impl HealthSpec {
    /// What `inspect` shows: this over the image's, if either says anything.
    pub fn shown(&self, image: &ProcessDefaults) -> Option<HealthConfig> {
        let merged = match HealthConfig::of_image(image) {
            Some(below) => self.config.over(&below),
            None => self.config.clone(),
        };
        (!is_default(&merged)).then_some(merged)
    }

    /// What will be done; nothing if there is no test, or none that is known.
    pub fn effective(&self, image: &ProcessDefaults) -> Option<HealthCheck> {
        let config = self.shown(image)?;
        let shell = shell(image);
        let command = command(config.test.as_deref()?, &shell)?;
        let most = |limit: Option<u32>, default: usize, most: usize| match limit {
            None => default,
            Some(0) => most,
            Some(limit) => (limit as usize).min(most),
        };
        Some(HealthCheck {
            probe: Probe {
                command,
                interval: nanoseconds(config.interval, INTERVAL),
                timeout: nanoseconds(config.timeout, TIMEOUT),
            },
            start_period: nanoseconds(config.start_period, Duration::ZERO),
            start_interval: nanoseconds(config.start_interval, START_INTERVAL),
            retries: match u32::try_from(config.retries) {
                Ok(0) | Err(_) => RETRIES,
                Ok(retries) => retries,
            },
            startup: self.startup.effective(&shell),
            on_failure: self.on_failure,
            by_hand: self.by_hand,
            results: most(self.log_count, RESULTS, MOST_RESULTS),
            output: most(self.log_size, OUTPUT, MOST_OUTPUT),
        })
    }
}

impl StartupConfig {
    fn effective(&self, shell: &[String]) -> Option<StartupCheck> {
        Some(StartupCheck {
            probe: Probe {
                command: command(self.test.as_deref()?, shell)?,
                interval: nanoseconds(self.interval, INTERVAL),
                timeout: nanoseconds(self.timeout, TIMEOUT),
            },
            retries: self.retries,
            successes: self.success.max(1),
        })
    }
}

/// Negative ones of an image are no wish at all.
fn nanoseconds(number: i64, default: Duration) -> Duration {
    match u64::try_from(number) {
        Ok(0) | Err(_) => default,
        Ok(number) => Duration::from_nanos(number).max(SHORTEST),
    }
}

/// `SHELL` of the image, or Docker's.
fn shell(image: &ProcessDefaults) -> Vec<String> {
    let own: Option<Vec<String>> = image
        .extra
        .get("Shell")
        .and_then(|value| Deserialize::deserialize(value).ok());
    own.filter(|words| !words.is_empty())
        .unwrap_or_else(|| vec!["/bin/sh".to_owned(), "-c".to_owned()])
}

fn command(test: &[String], shell: &[String]) -> Option<Vec<String>> {
    let (kind, words) = test.split_first()?;
    if words.is_empty() {
        return None;
    }
    match kind.as_str() {
        "CMD" => Some(words.to_vec()),
        "CMD-SHELL" => Some([shell, words].concat()),
        _ => None,
    }
}

/// The test that `--health-cmd` asks for: a line for the shell, a JSON array of words, or `none`.
pub fn parse_test(text: &str) -> Vec<String> {
    if text == "none" {
        return vec!["NONE".to_owned()];
    }
    match serde_json::from_str::<Vec<String>>(text) {
        Ok(mut words) => {
            let is_test = words
                .first()
                .is_some_and(|word| matches!(word.as_str(), "CMD" | "CMD-SHELL" | "NONE"));
            if !is_test {
                words.insert(0, "CMD".to_owned());
            }
            words
        }
        Err(_) => vec!["CMD-SHELL".to_owned(), text.to_owned()],
    }
}

/// Docker's words for how a container is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HealthStatus {
    Starting,
    Healthy,
    Unhealthy,
}

impl fmt::Display for HealthStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            HealthStatus::Starting => "starting",
            HealthStatus::Healthy => "healthy",
            HealthStatus::Unhealthy => "unhealthy",
        })
    }
}

/// One check, in Docker's shape.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct HealthResult {
    /// RFC 3339 with nanoseconds, UTC.
    pub start: String,
    pub end: String,
    /// -1 for one that was killed for taking too long, or could not be run at all.
    pub exit_code: i32,
    pub output: String,
}

/// What has been found out about one run of a container: `containers/ID/health.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthRecord {
    /// Which run: [`super::container::StartRecord::started`].
    pub started: String,
    pub status: HealthStatus,
    /// Failures in a row.
    pub failing_streak: u32,
    /// The last ones, oldest first.
    pub log: Vec<HealthResult>,
}

impl HealthRecord {
    /// Of a run of which nothing is known yet.
    pub fn begin(started: &str) -> HealthRecord {
        HealthRecord {
            started: started.to_owned(),
            status: HealthStatus::Starting,
            failing_streak: 0,
            log: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &[&str]) -> Vec<String> {
        text.iter().map(|word| (*word).to_owned()).collect()
    }

    fn image(healthcheck: &str) -> ProcessDefaults {
        let text = format!(r#"{{"Healthcheck": {healthcheck}}}"#);
        serde_json::from_str(&text).unwrap()
    }

    const OF_IMAGE: &str = r#"{"Test": ["CMD", "/check", "-q"], "Interval": 5000000000,
        "Timeout": 1500000000, "StartPeriod": 7000000000, "Retries": 2}"#;

    #[test]
    fn what_an_image_says_is_done() {
        let check = HealthSpec::default().effective(&image(OF_IMAGE)).unwrap();
        assert_eq!(check.probe.command, words(&["/check", "-q"]));
        assert_eq!(check.probe.interval, Duration::from_secs(5));
        assert_eq!(check.probe.timeout, Duration::from_millis(1500));
        assert_eq!(check.start_period, Duration::from_secs(7));
        assert_eq!(check.start_interval, START_INTERVAL);
        assert_eq!(check.retries, 2);
        assert_eq!((check.results, check.output), (5, 4096));
    }

    #[test]
    fn flags_lie_over_the_image() {
        let spec = HealthSpec {
            config: HealthConfig {
                retries: 9,
                ..HealthConfig::default()
            },
            ..HealthSpec::default()
        };
        let shown = spec.shown(&image(OF_IMAGE)).unwrap();
        let text = serde_json::to_string(&shown).unwrap();
        let expected = r#"{"Test":["CMD","/check","-q"],"Interval":5000000000,"Timeout":1500000000,"StartPeriod":7000000000,"Retries":9}"#;
        assert_eq!(text, expected);
        let none = HealthSpec {
            config: HealthConfig {
                test: Some(parse_test("none")),
                ..HealthConfig::default()
            },
            ..HealthSpec::default()
        };
        assert_eq!(none.effective(&image(OF_IMAGE)), None);
    }

    #[test]
    fn lines_go_to_the_images_shell() {
        let mut with_shell = image(r#"{"Test": ["CMD-SHELL", "a && b"]}"#);
        let check = HealthSpec::default().effective(&with_shell).unwrap();
        assert_eq!(check.probe.command, words(&["/bin/sh", "-c", "a && b"]));
        assert_eq!(check.probe.interval, INTERVAL);
        let shell = serde_json::json!(["/bin/bash", "-ec"]);
        with_shell.extra.insert("Shell".to_owned(), shell);
        let check = HealthSpec::default().effective(&with_shell).unwrap();
        assert_eq!(check.probe.command, words(&["/bin/bash", "-ec", "a && b"]));
    }

    #[test]
    fn nonsense_of_an_image_does_no_harm() {
        for nothing in [
            "null",
            "7",
            "{}",
            r#"{"Test": null}"#,
            r#"{"Test": []}"#,
            r#"{"Test": ["NONE"]}"#,
            r#"{"Test": ["CMD"]}"#,
            r#"{"Test": ["SOMETHING", "else"]}"#,
            r#"{"Test": "a"}"#,
        ] {
            let check = HealthSpec::default().effective(&image(nothing));
            assert_eq!(check, None, "{nothing}");
        }
        let odd = image(r#"{"Test": ["CMD", "a"], "Interval": -5, "Timeout": 1, "Retries": -1}"#);
        let check = HealthSpec::default().effective(&odd).unwrap();
        assert_eq!(check.probe.interval, INTERVAL);
        assert_eq!(check.probe.timeout, SHORTEST);
        assert_eq!(check.retries, RETRIES);
    }

    #[test]
    fn commands_are_lines_or_lists() {
        for (text, expected) in [
            (
                "curl -f http://x || exit 1",
                &["CMD-SHELL", "curl -f http://x || exit 1"][..],
            ),
            (r#"["a", "b c"]"#, &["CMD", "a", "b c"]),
            (r#"["CMD-SHELL", "a b"]"#, &["CMD-SHELL", "a b"]),
            ("[ -e /x ]", &["CMD-SHELL", "[ -e /x ]"]),
            ("none", &["NONE"]),
        ] {
            assert_eq!(parse_test(text), words(expected), "{text}");
        }
    }

    #[test]
    fn a_spec_that_says_nothing_takes_no_room() {
        let text = serde_json::to_string(&HealthSpec::default()).unwrap();
        assert_eq!(text, "{}");
        let spec: HealthSpec = serde_json::from_str(&text).unwrap();
        assert_eq!(spec, HealthSpec::default());
    }
}
