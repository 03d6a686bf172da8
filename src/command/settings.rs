//! Settings on the command line: flags with their variables.

use std::marker::PhantomData;

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

use crate::config::{self, Given, Part, SETTINGS, Setting};
use crate::failure::Failure;

/// The settings of these parts, as they were given.
#[derive(Debug)]
pub(super) struct Settings<T> {
    given: Given,
    parts: PhantomData<fn() -> T>,
}

impl<T: Part> Settings<T> {
    /// What was set, by flag or else by variable.
    pub(super) const fn given(&self) -> &Given {
        &self.given
    }

    /// Checks them, with the files that they name.
    pub(super) fn load(&self) -> Result<T, Failure> {
        config::load(&self.given).map_err(Failure::Settings)
    }

    fn all() -> impl Iterator<Item = &'static Setting> {
        let sections = T::sections();
        SETTINGS
            .iter()
            .filter(move |setting| sections.contains(&setting.section))
    }
}

impl<T: Part> Args for Settings<T> {
    fn augment_args(command: Command) -> Command {
        command.next_help_heading("Settings").args(Self::all().map(flag))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl<T: Part> FromArgMatches for Settings<T> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let value = |setting: &'static Setting| {
            let value = matches.get_one::<String>(setting.name)?;
            Some((setting.name, value.clone()))
        };
        Ok(Self {
            given: Self::all().filter_map(value).collect(),
            parts: PhantomData,
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

fn flag(setting: &'static Setting) -> Arg {
    let help = match setting.default {
        Some(default) => format!("{} [default: {default}]", setting.help),
        None => setting.help.to_owned(),
    };
    Arg::new(setting.name)
        .long(setting.flag())
        .env(setting.variable())
        .hide_env_values(true)
        .action(ArgAction::Set)
        .value_name("VALUE")
        .help(help)
}
