//! Where everything is stored, looked at before anything is written: a mistyped path, or a disk that is not mounted, must
//! not become an empty cluster.

use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, bail, ensure};
use env::{Disk, RealDisk};
use settings::BrokerOptions;
use tracing::info;

/// How the data directory was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// There is none yet.
    Missing,
    /// Nothing of Levada's is in it, as where its disk is not mounted, or in a new volume.
    Empty,
    Used,
}

/// Looks, and refuses where nothing may begin.
pub fn look(options: &BrokerOptions) -> anyhow::Result<Found> {
    let path = Path::new(&options.data_dir);
    let found = find(path)?;
    if options.data_dir_must_exist && found != Found::Used {
        let what = if found == Found::Missing { "does not exist" } else { "holds no data of Levada" };
        bail!(
            "the data directory {} {what}, and levada.data.dir.must.exist is set: is its disk mounted, and the path the \
             one that is meant? To begin a new cluster there, start once with --set levada.data.dir.must.exist=false",
            shown(path)
        );
    }
    Ok(found)
}

/// Refuses a folder that another Levada serves: that, and no port that is taken, is why this one does not start.
pub fn check_free(options: &BrokerOptions) -> anyhow::Result<()> {
    let file = Path::new(&options.data_dir).join("lock");
    // Only looked at: whoever serves takes it.
    let is_taken =
        file.exists() && RealDisk.lock(&file).is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
    ensure!(
        !is_taken,
        "a Levada serves the data directory {} already{}: stop it first, or name another folder with --data-dir",
        shown(Path::new(&options.data_dir)),
        holder(&file).map_or_else(String::new, |pid| format!(" (process {pid})"))
    );
    Ok(())
}

/// The process that has locked a file, where the system tells.
fn holder(file: &Path) -> Option<u32> {
    let inode = std::fs::metadata(file).ok()?.ino();
    let locks = std::fs::read_to_string("/proc/locks").ok()?;
    locks.lines().find_map(|line| {
        // 1: FLOCK  ADVISORY  WRITE 4711 08:01:123456 0 EOF
        let words: Vec<&str> = line.split_whitespace().collect();
        let is_file = words.get(5)?.rsplit(':').next()?.parse() == Ok(inode);
        is_file.then(|| words.get(4)?.parse().ok()).flatten()
    })
}

/// Says that something new has begun, once it has.
pub fn tell(found: Found, options: &BrokerOptions) {
    let path = shown(Path::new(&options.data_dir));
    match found {
        Found::Missing => info!(path, "created a new data directory"),
        Found::Empty => info!(path, "nothing was stored in the data directory before"),
        Found::Used => {}
    }
}

fn find(path: &Path) -> anyhow::Result<Found> {
    match path.read_dir() {
        Ok(entries) => {
            let is_used = entries.flatten().any(|entry| entry.file_name().to_str().is_some_and(is_own));
            return Ok(if is_used { Found::Used } else { Found::Empty });
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => {
            let what = "it is to be a folder that this user may read and write (--data-dir, log.dirs)";
            return Err(error)
                .with_context(|| format!("the data directory {} cannot be used: {what}", shown(path)));
        }
    }
    ensure!(
        !path.is_symlink(),
        "the data directory {} is a link to something that does not exist: is its disk mounted?",
        shown(path)
    );
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    ensure!(
        parent.is_dir(),
        "the data directory {} cannot be created, because {} does not exist: is its disk mounted, and the path the one \
         that is meant (--data-dir, log.dirs)? Only the last part of a path is created; for more: mkdir -p {1}",
        shown(path),
        shown(parent)
    );
    Ok(Found::Missing)
}

/// Whether an entry of the directory is there once something is stored.
fn is_own(name: &str) -> bool {
    matches!(name, "levada.properties" | "partitions" | "patterns") || name.starts_with("shard-")
}

fn shown(path: &Path) -> String {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).display().to_string()
}
