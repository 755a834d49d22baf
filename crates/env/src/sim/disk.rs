use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::disk::{Disk, DiskEntry, DiskLock, File, Space};
use crate::random::{Random, SeededRandom};

const SECTOR_BYTES: usize = 512;
/// How many versions of one unsynced sector are remembered as possible survivors.
const VERSIONS_MAX: usize = 6;

/// A disk in memory that forgets, tears, fills up and fails on demand, always the same way for the same seed.
///
/// Each file has what a program sees and what the medium holds. A write changes only the first; a sync copies
/// the file's changed sectors to the second. [`SimDisk::crash`] makes what is on the medium the truth again,
/// after letting any part of the unsynced rest survive: of every changed sector the old content, any version
/// written since, or a torn mixture of two; of the changes to directories a prefix or any possible subset.
#[derive(Clone)]
pub struct SimDisk {
    world: Arc<Mutex<World>>,
}

/// What survives a crash of the writes that were never synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Survival {
    /// Nothing: the strictest reading of "not synced".
    Nothing,
    /// Everything: a killed process on a machine that stays up.
    Everything,
    /// By chance, sector by sector and name by name.
    Chance,
}

/// Something to go wrong once, at the next operation on a path that contains the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The sync fails and, as on Linux, what was dirty is neither written nor dirty any more.
    Sync(String),
    /// The write fails after some of it was written.
    Write(String),
    Read(String),
    /// Opening or creating a file fails because too many are open.
    Open(String),
}

struct World {
    random: SeededRandom,
    /// What programs see. Directories are nodes too; the root is implied.
    names: BTreeMap<PathBuf, Node>,
    /// What the medium's directories say.
    durable_names: BTreeMap<PathBuf, Node>,
    /// Changes to directories since their last sync, in order.
    name_changes: Vec<NameChange>,
    contents: BTreeMap<u64, Content>,
    next_inode: u64,
    /// Counts machines: a handle of an earlier one is dead.
    generation: u64,
    locks: BTreeSet<PathBuf>,
    capacity: Option<u64>,
    faults: Vec<Fault>,
    operations: u64,
    crash_at: Option<u64>,
    crashed: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Node {
    File(u64),
    Dir,
}

#[derive(Clone)]
enum NameChange {
    Add(PathBuf, Node),
    Remove(PathBuf),
    Rename(PathBuf, PathBuf),
}

#[derive(Clone, Default)]
struct Content {
    seen: Vec<u8>,
    medium: Vec<u8>,
    /// Sector → the versions written since the last sync, oldest first.
    dirty: BTreeMap<usize, Vec<Vec<u8>>>,
    open_handles: usize,
    /// No name leads to it any more, so it takes no room; but its name may come back after a crash.
    is_unlinked: bool,
}

struct SimFile {
    world: Arc<Mutex<World>>,
    path: PathBuf,
    inode: u64,
    generation: u64,
}

impl SimDisk {
    pub fn new(seed: u64) -> SimDisk {
        SimDisk {
            world: Arc::new(Mutex::new(World {
                random: SeededRandom::new(seed),
                names: BTreeMap::new(),
                durable_names: BTreeMap::new(),
                name_changes: Vec::new(),
                contents: BTreeMap::new(),
                next_inode: 1,
                generation: 1,
                locks: BTreeSet::new(),
                capacity: None,
                faults: Vec::new(),
                operations: 0,
                crash_at: None,
                crashed: false,
            })),
        }
    }

    /// Another disk with the same contents, to try several futures. No handle leads to it yet.
    pub fn fork(&self) -> SimDisk {
        let world = self.world();
        let mut contents = world.contents.clone();
        contents.values_mut().for_each(|content| content.open_handles = 0);
        SimDisk {
            world: Arc::new(Mutex::new(World {
                random: SeededRandom::new(world.random.next_u64()),
                names: world.names.clone(),
                durable_names: world.durable_names.clone(),
                name_changes: world.name_changes.clone(),
                contents,
                next_inode: world.next_inode,
                generation: world.generation,
                locks: BTreeSet::new(),
                capacity: world.capacity,
                faults: world.faults.clone(),
                operations: world.operations,
                crash_at: world.crash_at,
                crashed: world.crashed,
            })),
        }
    }

    /// Power cut and reboot. Handles and locks of before are dead.
    pub fn crash(&self, survival: Survival) {
        self.world().crash(survival);
    }

    /// From the n-th changing operation on (counted from now, 1 is the next) everything fails, until
    /// [`SimDisk::crash`]. The n-th itself may or may not have had its effect.
    pub fn crash_at(&self, n: u64) {
        let mut world = self.world();
        world.crash_at = Some(world.operations + n);
    }

    /// Whether [`SimDisk::crash_at`] has struck.
    pub fn has_crashed(&self) -> bool {
        self.world().crashed
    }

    /// Changing operations so far: writes, syncs, changes of names and lengths.
    pub fn operations(&self) -> u64 {
        self.world().operations
    }

    /// The sum of all files' lengths may not grow beyond this.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.world().capacity = bytes;
    }

    pub fn used_bytes(&self) -> u64 {
        self.world().used_bytes()
    }

    pub fn inject(&self, fault: Fault) {
        self.world().faults.push(fault);
    }

    /// Bit rot: changes a bit in what is seen and on the medium.
    pub fn flip_bit(&self, path: &Path, position: u64, bit: u8) {
        let mut world = self.world();
        let Some(Node::File(inode)) = world.names.get(path).copied() else { panic!("no file {path:?}") };
        let content = world.contents.get_mut(&inode).expect("a named file has content");
        let position = position as usize;
        content.seen[position] ^= 1 << bit;
        if let Some(byte) = content.medium.get_mut(position) {
            *byte = content.seen[position];
        }
    }

    /// Every file with its content as programs see it, for comparing two runs.
    pub fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let world = self.world();
        let file = |(path, node): (&PathBuf, &Node)| match node {
            Node::File(inode) => Some((path.clone(), world.contents[inode].seen.clone())),
            Node::Dir => None,
        };
        world.names.iter().filter_map(file).collect()
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().expect("no one panics while holding this lock")
    }

    fn handle(&self, world: &mut World, path: &Path, inode: u64) -> Arc<dyn File> {
        world.contents.get_mut(&inode).expect("a named file has content").open_handles += 1;
        Arc::new(SimFile {
            world: self.world.clone(),
            path: path.to_owned(),
            inode,
            generation: world.generation,
        })
    }
}

impl Disk for SimDisk {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let mut world = self.world();
        world.check_alive()?;
        world.check_open(path)?;
        match world.names.get(path).copied() {
            Some(Node::File(inode)) => Ok(self.handle(&mut world, path, inode)),
            Some(Node::Dir) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let mut world = self.world();
        world.check_parent(path)?;
        world.check_open(path)?;
        world
            .operation(|world| {
                let inode = match world.names.get(path).copied() {
                    Some(Node::File(inode)) => {
                        world.set_len(inode, 0);
                        inode
                    }
                    Some(Node::Dir) => return Err(io::ErrorKind::IsADirectory.into()),
                    None => {
                        let inode = world.next_inode;
                        world.next_inode += 1;
                        world.contents.insert(inode, Content::default());
                        world.change(NameChange::Add(path.to_owned(), Node::File(inode)));
                        inode
                    }
                };
                Ok(inode)
            })
            .map(|inode| self.handle(&mut world, path, inode))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut world = self.world();
        world.check_parent(to)?;
        world.operation(|world| match world.names.get(from) {
            Some(_) => {
                world.change(NameChange::Rename(from.to_owned(), to.to_owned()));
                Ok(())
            }
            None => Err(io::ErrorKind::NotFound.into()),
        })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.world().operation(|world| match world.names.get(path) {
            Some(Node::File(_)) => {
                world.change(NameChange::Remove(path.to_owned()));
                world.forget_unreachable();
                Ok(())
            }
            Some(Node::Dir) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        })
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<DiskEntry>> {
        let world = self.world();
        world.check_alive()?;
        if !world.is_dir(directory) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let entry = |(path, node): (&PathBuf, &Node)| {
            let name = path.file_name()?.to_str()?.to_owned();
            (path.parent() == Some(directory)).then_some(DiskEntry { name, is_dir: *node == Node::Dir })
        };
        Ok(world.names.iter().filter_map(entry).collect())
    }

    fn create_dir(&self, directory: &Path) -> io::Result<()> {
        let mut world = self.world();
        let mut missing: Vec<PathBuf> =
            directory.ancestors().filter(|path| !world.is_dir(path)).map(Path::to_owned).collect();
        missing.reverse();
        for path in missing {
            let parent = path.parent().map(Path::to_owned).unwrap_or_default();
            world.operation(|world| {
                world.change(NameChange::Add(path, Node::Dir));
                Ok(())
            })?;
            world.operation(|world| {
                world.sync_names(&parent);
                Ok(())
            })?;
        }
        Ok(())
    }

    fn remove_dir(&self, directory: &Path) -> io::Result<()> {
        self.world().operation(|world| {
            if world.names.keys().any(|path| path.parent() == Some(directory)) {
                return Err(io::ErrorKind::DirectoryNotEmpty.into());
            }
            world.change(NameChange::Remove(directory.to_owned()));
            Ok(())
        })
    }

    fn sync_dir(&self, directory: &Path) -> io::Result<()> {
        let mut world = self.world();
        if !world.is_dir(directory) {
            world.check_alive()?;
            return Err(io::ErrorKind::NotFound.into());
        }
        world.operation(|world| {
            world.sync_names(directory);
            Ok(())
        })
    }

    fn lock(&self, path: &Path) -> io::Result<DiskLock> {
        let mut world = self.world();
        world.check_alive()?;
        if !world.locks.insert(path.to_owned()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(DiskLock::new(SimLock {
            world: self.world.clone(),
            path: path.to_owned(),
            generation: world.generation,
        }))
    }

    fn space(&self, _path: &Path) -> io::Result<Space> {
        let world = self.world();
        world.check_alive()?;
        let total = world.capacity.unwrap_or(1 << 40);
        Ok(Space { total, free: total.saturating_sub(world.used_bytes()) })
    }
}

struct SimLock {
    world: Arc<Mutex<World>>,
    path: PathBuf,
    generation: u64,
}

impl Drop for SimLock {
    fn drop(&mut self) {
        let mut world = self.world.lock().expect("no one panics while holding this lock");
        if world.generation == self.generation {
            world.locks.remove(&self.path);
        }
    }
}

impl SimFile {
    fn world(&self) -> io::Result<MutexGuard<'_, World>> {
        let world = self.world.lock().expect("no one panics while holding this lock");
        if world.generation != self.generation {
            return Err(io::Error::other("this handle belongs to a machine that has crashed"));
        }
        world.check_alive()?;
        Ok(world)
    }
}

impl Drop for SimFile {
    fn drop(&mut self) {
        let mut world = self.world.lock().expect("no one panics while holding this lock");
        if world.generation == self.generation {
            if let Some(content) = world.contents.get_mut(&self.inode) {
                content.open_handles -= 1;
            }
            world.forget_unreachable();
        }
    }
}

impl File for SimFile {
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        let mut world = self.world()?;
        if world
            .strikes(|fault| matches!(fault, Fault::Read(text) if self.path.to_string_lossy().contains(text)))
        {
            return Err(io::Error::other("injected read error"));
        }
        let seen = &world.contents[&self.inode].seen;
        let start = (position as usize).min(seen.len());
        let count = buffer.len().min(seen.len() - start);
        buffer[..count].copy_from_slice(&seen[start..start + count]);
        Ok(count)
    }

    fn write_vectored_at(&self, parts: &[IoSlice<'_>], position: u64) -> io::Result<()> {
        let mut bytes: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
        let mut world = self.world()?;
        let failed = world.strikes(
            |fault| matches!(fault, Fault::Write(text) if self.path.to_string_lossy().contains(text)),
        );
        if failed {
            bytes.truncate(world.random.below(bytes.len() as u64) as usize);
        }
        world.operation(|world| {
            let length = world.contents[&self.inode].seen.len() as u64;
            let grows = (position + bytes.len() as u64).saturating_sub(length);
            let room = world.room();
            if grows > room {
                // As a real disk does: what fits is written.
                let fits = (length + room).saturating_sub(position).min(bytes.len() as u64);
                world.write(self.inode, position as usize, &bytes[..fits as usize]);
                return Err(io::ErrorKind::StorageFull.into());
            }
            world.write(self.inode, position as usize, &bytes);
            if failed { Err(io::Error::other("injected write error")) } else { Ok(()) }
        })
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut world = self.world()?;
        let failed = world.strikes(
            |fault| matches!(fault, Fault::Sync(text) if self.path.to_string_lossy().contains(text)),
        );
        world.operation(|world| {
            let content = world.contents.get_mut(&self.inode).expect("an open file has content");
            if failed {
                content.dirty.clear();
                return Err(io::Error::other("injected sync error"));
            }
            content.sync();
            Ok(())
        })
    }

    fn allocate(&self, position: u64, length: u64) -> io::Result<()> {
        self.world()?.operation(|world| {
            let now = world.contents[&self.inode].seen.len() as u64;
            let wanted = position + length;
            if wanted.saturating_sub(now) > world.room() {
                return Err(io::ErrorKind::StorageFull.into());
            }
            world.set_len(self.inode, now.max(wanted) as usize);
            Ok(())
        })
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.world()?.operation(|world| {
            world.set_len(self.inode, length as usize);
            Ok(())
        })
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.world()?.contents[&self.inode].seen.len() as u64)
    }
}

impl World {
    fn check_alive(&self) -> io::Result<()> {
        if self.crashed { Err(io::Error::other("the machine has crashed")) } else { Ok(()) }
    }

    /// Runs a changing operation, unless the machine crashes at it.
    fn operation<T>(&mut self, effect: impl FnOnce(&mut World) -> io::Result<T>) -> io::Result<T> {
        self.check_alive()?;
        self.operations += 1;
        if self.crash_at == Some(self.operations) {
            if self.random.chance(2) {
                let _ = effect(self);
            }
            self.crashed = true;
            return Err(io::Error::other("the machine crashes now"));
        }
        effect(self)
    }

    fn strikes(&mut self, matches: impl Fn(&Fault) -> bool) -> bool {
        match self.faults.iter().position(matches) {
            Some(index) => {
                self.faults.remove(index);
                true
            }
            None => false,
        }
    }

    fn is_dir(&self, path: &Path) -> bool {
        path == Path::new("") || path == Path::new("/") || self.names.get(path) == Some(&Node::Dir)
    }

    fn check_open(&mut self, path: &Path) -> io::Result<()> {
        match self
            .strikes(|fault| matches!(fault, Fault::Open(text) if path.to_string_lossy().contains(text)))
        {
            true => Err(io::Error::from_raw_os_error(libc::EMFILE)),
            false => Ok(()),
        }
    }

    fn check_parent(&self, path: &Path) -> io::Result<()> {
        self.check_alive()?;
        if path.parent().is_some_and(|parent| self.is_dir(parent)) {
            Ok(())
        } else {
            Err(io::ErrorKind::NotFound.into())
        }
    }

    fn used_bytes(&self) -> u64 {
        let takes_room = |content: &&Content| !content.is_unlinked;
        self.contents.values().filter(takes_room).map(|content| content.seen.len() as u64).sum()
    }

    fn room(&self) -> u64 {
        self.capacity.map_or(u64::MAX, |capacity| capacity.saturating_sub(self.used_bytes()))
    }

    fn write(&mut self, inode: u64, position: usize, bytes: &[u8]) {
        let content = self.contents.get_mut(&inode).expect("an open file has content");
        let end = position + bytes.len();
        if content.seen.len() < end {
            content.seen.resize(end, 0);
        }
        content.seen[position..end].copy_from_slice(bytes);
        content.mark_dirty(position, end);
    }

    fn set_len(&mut self, inode: u64, length: usize) {
        let content = self.contents.get_mut(&inode).expect("an open file has content");
        let before = content.seen.len();
        content.seen.resize(length, 0);
        // What is cut off must not come back when the file grows again. New zeroes need no write: the length is all.
        content.mark_dirty(length.min(before), before);
    }

    fn change(&mut self, change: NameChange) {
        change.apply(&mut self.names);
        self.name_changes.push(change);
    }

    fn sync_names(&mut self, directory: &Path) {
        let mut rest = Vec::new();
        for change in std::mem::take(&mut self.name_changes) {
            if change.touches(directory) {
                change.apply(&mut self.durable_names);
            } else {
                rest.push(change);
            }
        }
        self.name_changes = rest;
        self.forget_unreachable();
    }

    /// Drops the content of files that no name and no handle leads to any more.
    fn forget_unreachable(&mut self) {
        let mut reachable: BTreeSet<u64> = BTreeSet::new();
        for node in self.names.values().chain(self.durable_names.values()) {
            if let Node::File(inode) = node {
                reachable.insert(*inode);
            }
        }
        for change in &self.name_changes {
            if let NameChange::Add(_, Node::File(inode)) = change {
                reachable.insert(*inode);
            }
        }
        let named: BTreeSet<u64> = self
            .names
            .values()
            .filter_map(|node| if let Node::File(inode) = node { Some(*inode) } else { None })
            .collect();
        self.contents.retain(|inode, content| {
            content.is_unlinked = !named.contains(inode) && content.open_handles == 0;
            reachable.contains(inode) || content.open_handles > 0
        });
    }

    fn crash(&mut self, survival: Survival) {
        let changes = std::mem::take(&mut self.name_changes);
        let kept = match survival {
            Survival::Nothing => 0,
            Survival::Everything => changes.len(),
            Survival::Chance => self.random.below(changes.len() as u64 + 1) as usize,
        };
        let scattered = survival == Survival::Chance && self.random.chance(2);
        for (i, change) in changes.iter().enumerate() {
            if i < kept || scattered && self.random.chance(2) {
                change.apply(&mut self.durable_names);
            }
        }
        // A file in a directory that did not survive is gone too.
        let names = &mut self.durable_names;
        while let Some(orphan) = names
            .keys()
            .find(|path| {
                let parent = path.parent().expect("the root is not listed");
                parent != Path::new("") && parent != Path::new("/") && names.get(parent) != Some(&Node::Dir)
            })
            .cloned()
        {
            names.remove(&orphan);
        }
        self.names = self.durable_names.clone();
        let random = &self.random;
        for content in self.contents.values_mut() {
            content.crash(survival, random);
            content.open_handles = 0;
        }
        self.generation += 1;
        self.locks.clear();
        self.faults.clear();
        self.crash_at = None;
        self.crashed = false;
        self.forget_unreachable();
    }
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<PathBuf, Node>) {
        match self {
            NameChange::Add(path, node) => {
                names.insert(path.clone(), *node);
            }
            NameChange::Remove(path) => {
                names.remove(path);
            }
            NameChange::Rename(from, to) => {
                let Some(node) = names.remove(from) else { return };
                names.insert(to.clone(), node);
                let inside: Vec<PathBuf> =
                    names.keys().filter(|path| path.starts_with(from)).cloned().collect();
                for path in inside {
                    let node = names.remove(&path).expect("just listed");
                    names.insert(to.join(path.strip_prefix(from).expect("just matched")), node);
                }
            }
        }
    }

    fn touches(&self, directory: &Path) -> bool {
        match self {
            NameChange::Add(path, _) | NameChange::Remove(path) => path.parent() == Some(directory),
            NameChange::Rename(from, to) => {
                from.parent() == Some(directory) || to.parent() == Some(directory)
            }
        }
    }
}

impl Content {
    fn mark_dirty(&mut self, start: usize, end: usize) {
        if start == end {
            return;
        }
        for sector in start / SECTOR_BYTES..=(end - 1) / SECTOR_BYTES {
            let from = (sector * SECTOR_BYTES).min(self.seen.len());
            let to = ((sector + 1) * SECTOR_BYTES).min(self.seen.len());
            let versions = self.dirty.entry(sector).or_default();
            if versions.len() == VERSIONS_MAX {
                versions.remove(0);
            }
            versions.push(self.seen[from..to].to_vec());
        }
    }

    fn sync(&mut self) {
        self.medium.resize(self.seen.len(), 0);
        for sector in std::mem::take(&mut self.dirty).into_keys() {
            let from = (sector * SECTOR_BYTES).min(self.seen.len());
            let to = ((sector + 1) * SECTOR_BYTES).min(self.seen.len());
            self.medium[from..to].copy_from_slice(&self.seen[from..to]);
        }
    }

    fn crash(&mut self, survival: Survival, random: &SeededRandom) {
        match survival {
            Survival::Nothing => {}
            // The page cache lives on, and is still dirty.
            Survival::Everything => return,
            Survival::Chance => self.survive(random),
        }
        self.dirty.clear();
        self.seen = self.medium.clone();
    }

    fn survive(&mut self, random: &SeededRandom) {
        let scattered = random.chance(2);
        let mut length = self.medium.len();
        if self.seen.len() != length && random.chance(2) {
            length = self.seen.len();
        }
        for (&sector, versions) in &self.dirty {
            if random.chance(if scattered { 2 } else { 8 }) {
                continue;
            }
            let from = sector * SECTOR_BYTES;
            let mut version = versions[random.below(versions.len() as u64) as usize].clone();
            if random.chance(8) {
                version.truncate(random.below(version.len() as u64 + 1) as usize);
            }
            let to = from + version.len();
            if to > self.medium.len() {
                self.medium.resize(to, 0);
            }
            self.medium[from..to].copy_from_slice(&version);
        }
        // The length is one of the two, or grew as far as data that reached the medium.
        length = length.max(if random.chance(2) { self.medium.len().min(self.seen.len()) } else { 0 });
        self.medium.resize(length, 0);
    }
}
