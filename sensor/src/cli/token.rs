//! `sensor token`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{Args, Subcommand};
use sensor_record::json;
use sensor_record::{Timestamp, Zone};
use serde::Serialize;

use super::out::{print_lines, say};
use crate::config::{self, HttpSettings, Sources};
use crate::tokens::{Rights, TokenFile};

/// Tokens of those who come over TCP (`[http]`).
#[derive(Args)]
#[command(
    after_help = "The agent keeps the hash of a token, never the token, and takes changes at once.\n\n\
    Example: sensor token add ann --rights operate"
)]
pub struct Token {
    #[command(subcommand)]
    what: What,
    /// Configuration file.
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// Print JSON.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum What {
    /// Make a token, and print it: it is shown this once.
    #[command(after_help = "Example: sensor token add ann --rights operate")]
    Add {
        /// Name, which the audit log has for what is done by it.
        name: String,
        /// Rights of its holder.
        #[arg(long, value_enum, default_value = "read")]
        rights: Rights,
    },
    /// List the tokens, without what is secret.
    #[command(after_help = "Example: sensor token list --json")]
    List,
    /// Remove a token; its holder is out at once.
    #[command(after_help = "Example: sensor token remove ann")]
    Remove {
        /// Name of the token.
        name: String,
    },
}

/// A token as it is listed.
#[derive(Serialize)]
#[serde(tag = "kind", rename = "token")]
struct Listed<'a> {
    name: &'a str,
    rights: Rights,
    created: Timestamp,
}

/// A token that was made.
#[derive(Serialize)]
#[serde(tag = "kind", rename = "new_token")]
struct Made<'a> {
    name: &'a str,
    rights: Rights,
    token: &'a str,
    url: &'a str,
}

impl Token {
    pub fn execute(self) -> Result<ExitCode> {
        let settings =
            config::load(&Sources::of_process(self.config.clone(), Vec::new()))?.settings;
        let folder = settings.respond.state_of_instance();
        let folder = folder.context("tokens are kept in respond.state_folder: set it")?;
        let file = TokenFile::in_folder(&folder);
        match &self.what {
            What::Add { name, rights } => self.add(&file, name, *rights, &settings.http)?,
            What::List => self.list(&file)?,
            What::Remove { name } => {
                file.remove(name)?;
                if !self.json {
                    say!("token {name} removed")?;
                }
            }
        }
        Ok(ExitCode::SUCCESS)
    }

    fn add(&self, file: &TokenFile, name: &str, rights: Rights, http: &HttpSettings) -> Result<()> {
        let token = file.add(name, rights)?;
        let scheme = if http.cert_file.as_os_str().is_empty() {
            "http"
        } else {
            "https"
        };
        let url = format!("{scheme}://{}/", http.listen);
        if self.json {
            let token = &token;
            let made = Made {
                name,
                rights,
                token,
                url: &url,
            };
            return say!("{}", json::line(&made));
        }
        say!("{token}")?;
        if !http.enabled {
            say!("nothing listens: set http.enabled = true and restart the sensor")?;
        }
        Ok(())
    }

    fn list(&self, file: &TokenFile) -> Result<()> {
        let tokens = file.read()?;
        if self.json {
            let listed = |token| {
                let crate::tokens::Token {
                    name,
                    rights,
                    created,
                    ..
                }: &crate::tokens::Token = token;
                Listed {
                    name,
                    rights: *rights,
                    created: *created,
                }
            };
            return print_lines(&tokens.iter().map(listed).collect::<Vec<_>>());
        }
        for token in &tokens {
            let rights = match token.rights {
                Rights::Read => "read",
                Rights::Operate => "operate",
            };
            let created = Zone::local().second(token.created);
            say!("{}  {rights}  since {created}", token.name)?;
        }
        Ok(())
    }
}
