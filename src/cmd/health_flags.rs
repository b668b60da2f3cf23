//! The flags of a container's health check.

use clap::Args;

use crate::model::{
    ContainerSpec, Error, ErrorKind, Result,
    health::{HealthSpec, parse_test},
    human,
};

#[derive(Args)]
pub struct HealthFlags {
    /// Check the container's health with this line of shell, or a JSON array of words; none is no
    /// check
    #[arg(long, value_name = "string")]
    health_cmd: Option<String>,
    /// Time between two checks, 30s if nothing is said; disable checks by hand only (default 0s)
    #[arg(long, value_name = "duration", allow_hyphen_values = true)]
    health_interval: Option<String>,
    /// Where results are kept: local
    #[arg(long, value_name = "string")]
    health_log_destination: Option<String>,
    /// How many results are kept, 5 if nothing is said; 0 is as many as possible
    #[arg(long, value_name = "uint", allow_hyphen_values = true)]
    health_max_log_count: Option<String>,
    /// How many bytes of a check's output are kept, 4096 if nothing is said; 0 is as many as
    /// possible
    #[arg(long, value_name = "uint", allow_hyphen_values = true)]
    health_max_log_size: Option<String>,
    /// What to do with a container that has become unhealthy: none, kill, restart or stop
    #[arg(long, value_name = "string")]
    health_on_failure: Option<String>,
    /// Failures in a row that make the container unhealthy, 3 if nothing is said
    #[arg(long, value_name = "int", allow_hyphen_values = true)]
    health_retries: Option<String>,
    /// Time between two checks in the start period, 5s if nothing is said (default 0s)
    #[arg(long, value_name = "duration", allow_hyphen_values = true)]
    health_start_interval: Option<String>,
    /// Time after the start in which failures do not count (default 0s)
    #[arg(long, value_name = "duration", allow_hyphen_values = true)]
    health_start_period: Option<String>,
    /// Check this first, and the container's health when it has succeeded
    #[arg(long, value_name = "string")]
    health_startup_cmd: Option<String>,
    /// Time between two startup checks, 30s if nothing is said
    #[arg(long, value_name = "duration", allow_hyphen_values = true)]
    health_startup_interval: Option<String>,
    /// Failed startup checks in a row after which the container is started anew; 0 is never
    #[arg(long, value_name = "uint", allow_hyphen_values = true)]
    health_startup_retries: Option<String>,
    /// Successful startup checks that are needed
    #[arg(long, value_name = "uint", allow_hyphen_values = true)]
    health_startup_success: Option<String>,
    /// Time after which a startup check is killed, 30s if nothing is said
    #[arg(long, value_name = "duration", allow_hyphen_values = true)]
    health_startup_timeout: Option<String>,
    /// Time after which a check is killed, 30s if nothing is said (default 0s)
    #[arg(long, value_name = "duration", allow_hyphen_values = true)]
    health_timeout: Option<String>,
    /// Do not check the container's health, whatever the image says
    #[arg(long)]
    no_healthcheck: bool,
}

impl HealthFlags {
    pub fn apply(self, spec: &mut ContainerSpec) -> Result<()> {
        self.change(&mut spec.health)
    }

    /// Whether any was given.
    pub fn any(&self) -> bool {
        self.no_healthcheck || self.has_settings()
    }

    /// Lays what was given over what is there.
    pub fn change(&self, spec: &mut HealthSpec) -> Result<()> {
        if self.no_healthcheck {
            if self.has_settings() {
                return Err(Error::invalid(
                    "--no-healthcheck conflicts with --health-* options",
                ));
            }
            *spec = HealthSpec::default();
            spec.config.test = Some(parse_test("none"));
            return Ok(());
        }
        if !self.has_settings() {
            return Ok(());
        }
        destination(self.health_log_destination.as_deref())?;
        if let Some(text) = given(&self.health_cmd) {
            spec.config.test = Some(parse_test(text));
        }
        if let Some(text) = given(&self.health_startup_cmd) {
            spec.startup.test = Some(parse_test(text));
        }
        if let Some(text) = given(&self.health_on_failure) {
            spec.on_failure = text.parse()?;
        }
        self.change_times(spec)?;
        self.change_counts(spec)?;
        spec.config.check()
    }

    fn change_times(&self, spec: &mut HealthSpec) -> Result<()> {
        let (config, startup) = (&mut spec.config, &mut spec.startup);
        let interval = given(&self.health_interval);
        if let Some(text) = interval {
            spec.by_hand = text == BY_HAND;
        }
        for (name, text, place) in [
            (
                "interval",
                interval.filter(|text| *text != BY_HAND),
                &mut config.interval,
            ),
            ("timeout", given(&self.health_timeout), &mut config.timeout),
            (
                "start-period",
                given(&self.health_start_period),
                &mut config.start_period,
            ),
            (
                "start-interval",
                given(&self.health_start_interval),
                &mut config.start_interval,
            ),
            (
                "startup-interval",
                given(&self.health_startup_interval),
                &mut startup.interval,
            ),
            (
                "startup-timeout",
                given(&self.health_startup_timeout),
                &mut startup.timeout,
            ),
        ] {
            if let Some(text) = text {
                *place = duration(name, text)?;
            }
        }
        Ok(())
    }

    fn change_counts(&self, spec: &mut HealthSpec) -> Result<()> {
        if let Some(text) = given(&self.health_retries) {
            spec.config.retries = count("retries", text)?.into();
        }
        if let Some(text) = given(&self.health_startup_retries) {
            spec.startup.retries = count("startup-retries", text)?;
        }
        if let Some(text) = given(&self.health_startup_success) {
            spec.startup.success = count("startup-success", text)?;
        }
        if let Some(text) = given(&self.health_max_log_count) {
            spec.log_count = Some(count("max-log-count", text)?);
        }
        if let Some(text) = given(&self.health_max_log_size) {
            spec.log_size = Some(count("max-log-size", text)?);
        }
        Ok(())
    }

    fn has_settings(&self) -> bool {
        [
            &self.health_cmd,
            &self.health_interval,
            &self.health_log_destination,
            &self.health_max_log_count,
            &self.health_max_log_size,
            &self.health_on_failure,
            &self.health_retries,
            &self.health_start_interval,
            &self.health_start_period,
            &self.health_startup_cmd,
            &self.health_startup_interval,
            &self.health_startup_retries,
            &self.health_startup_success,
            &self.health_startup_timeout,
            &self.health_timeout,
        ]
        .into_iter()
        .any(|flag| given(flag).is_some())
    }
}

/// As an interval: checks are run by `healthcheck run` alone.
const BY_HAND: &str = "disable";

/// An empty value is none, as Docker has it.
fn given(flag: &Option<String>) -> Option<&str> {
    flag.as_deref().filter(|text| !text.is_empty())
}

fn destination(text: Option<&str>) -> Result<()> {
    match text {
        None | Some("" | "local") => Ok(()),
        Some(other) => Err(Error::new(
            ErrorKind::Unsupported,
            format!("--health-log-destination {other:?} is not supported"),
        )
        .with_hint("local is the only one: inspect shows the results")),
    }
}

fn duration(name: &str, text: &str) -> Result<i64> {
    if let Some(positive) = text.strip_prefix('-')
        && human::parse_duration(positive).is_ok_and(|length| !length.is_zero())
    {
        return Err(Error::invalid(format!(
            "--health-{name} cannot be negative"
        )));
    }
    let length =
        human::parse_duration(text.strip_prefix('-').unwrap_or(text)).map_err(|error| {
            let hint = error.hint().unwrap_or_default().to_owned();
            Error::invalid(format!(
                "invalid argument {text:?} for --health-{name}: invalid duration"
            ))
            .with_hint(hint)
        })?;
    Ok(i64::try_from(length.as_nanos()).unwrap_or(i64::MAX))
}

fn count(name: &str, text: &str) -> Result<u32> {
    match text.parse::<i64>() {
        Ok(..0) => Err(Error::invalid(format!(
            "--health-{name} cannot be negative"
        ))),
        Ok(number) if number <= i32::MAX.into() => Ok(number as u32),
        _ => Err(Error::invalid(format!(
            "invalid argument {text:?} for --health-{name}: not a number"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use clap::FromArgMatches;

    use super::*;

    fn spec(words: &[&str]) -> std::result::Result<HealthSpec, String> {
        let command = HealthFlags::augment_args(clap::Command::new("run")).no_binary_name(true);
        let matches = command.try_get_matches_from(words).unwrap();
        let flags = HealthFlags::from_arg_matches(&matches).unwrap();
        let mut spec = HealthSpec::default();
        match flags.change(&mut spec) {
            Ok(()) => Ok(spec),
            Err(error) => Err(error.one_line()),
        }
    }

    #[test]
    fn flags_make_a_check() {
        let made = spec(&[
            "--health-cmd=true",
            "--health-interval=1m30s",
            "--health-retries=4",
            "--health-on-failure=stop",
            "--health-startup-cmd=[\"up\"]",
            "--health-startup-success=2",
            "--health-max-log-size=0",
        ])
        .unwrap();
        assert_eq!(made.config.test, Some(parse_test("true")));
        assert_eq!(made.config.interval, 90_000_000_000);
        assert_eq!(made.config.retries, 4);
        assert_eq!(made.on_failure.to_string(), "stop");
        assert_eq!(made.startup.test, Some(parse_test("[\"up\"]")));
        assert_eq!((made.startup.success, made.log_size), (2, Some(0)));
        assert!(!made.by_hand);
        assert!(spec(&["--health-interval=disable"]).unwrap().by_hand);
        assert_eq!(spec(&[]).unwrap(), HealthSpec::default());
        let none = spec(&["--no-healthcheck"]).unwrap();
        assert_eq!(none.config.test, Some(vec!["NONE".to_owned()]));
    }

    #[test]
    fn nonsense_is_refused_in_dockers_words() {
        for (words, says) in [
            (
                &["--health-interval=-1s"][..],
                "--health-interval cannot be negative",
            ),
            (
                &["--health-retries=-1"],
                "--health-retries cannot be negative",
            ),
            (
                &["--health-timeout=1us"],
                "Timeout in Healthcheck cannot be less than 1ms",
            ),
            (
                &["--health-timeout=soon"],
                "invalid argument \"soon\" for --health-timeout",
            ),
            (
                &["--health-retries=many"],
                "invalid argument \"many\" for --health-retries",
            ),
            (
                &["--no-healthcheck", "--health-cmd=true"],
                "--no-healthcheck conflicts with --health-* options",
            ),
            (
                &["--health-on-failure=reboot"],
                "invalid on-failure action \"reboot\"",
            ),
            (&["--health-log-destination=/tmp"], "is not supported"),
        ] {
            let error = spec(words).unwrap_err();
            assert!(error.contains(says), "{words:?}: {error}");
        }
    }
}
