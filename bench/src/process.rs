//! What processes have used, as `/proc` tells it (proc(5)).

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;

/// `/proc` counts processor time in units of 10 ms on every architecture that Trunkline runs on
/// (`USER_HZ` of the kernel).
const TICK: Duration = Duration::from_millis(10);

/// A line of `stat`.
struct Stat {
    parent: u32,
    /// User and system time of its own, threads included.
    own: u32,
    /// That of children that have ended.
    ended_children: u32,
}

fn stat(path: &Path) -> Option<Stat> {
    let line = std::fs::read_to_string(path).ok()?;
    // The name in brackets may hold spaces. After it: state, parent, then utime, stime, cutime and
    // cstime as the fields 14 to 17 of the line.
    let fields: Vec<_> = line.rsplit(')').next()?.split_whitespace().collect();
    let number = |field: usize| fields.get(field)?.parse::<u32>().ok();
    Some(Stat {
        parent: number(1)?,
        own: number(11)? + number(12)?,
        ended_children: number(13)? + number(14)?,
    })
}

/// Processor time of a process and of all that come from it, those that have ended included.
///
/// # Errors
/// When `/proc` does not tell it, as of a process that has ended.
pub fn cpu_of_tree(root: u32) -> anyhow::Result<Duration> {
    let mut processes = HashMap::new();
    for entry in std::fs::read_dir("/proc")? {
        let entry = entry?;
        let pid = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok());
        if let Some(pid) = pid
            && let Some(stat) = stat(&entry.path().join("stat"))
        {
            processes.insert(pid, stat);
        }
    }
    processes
        .get(&root)
        .with_context(|| format!("process {root} has ended"))?;
    let belongs = |mut pid: u32| {
        while pid != root {
            match processes.get(&pid) {
                Some(stat) if stat.parent != 0 => pid = stat.parent,
                _ => return false,
            }
        }
        true
    };
    let ticks: u32 = processes
        .iter()
        .filter(|&(&pid, _)| belongs(pid))
        .map(|(_, stat)| stat.own + stat.ended_children)
        .sum();
    Ok(TICK * ticks)
}

/// Processor time of the calling thread.
///
/// # Errors
/// When `/proc` does not tell it, as of a process that has ended.
pub fn cpu_of_thread() -> anyhow::Result<Duration> {
    let stat =
        stat(Path::new("/proc/thread-self/stat")).context("reading /proc/thread-self/stat")?;
    Ok(TICK * stat.own)
}

/// Resident memory in KiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// What it holds now.
    pub now: u64,
    /// The most since the process began.
    pub peak: u64,
}

/// What a process holds in memory.
///
/// # Errors
/// When `/proc` does not tell it, as of a process that has ended.
pub fn memory(pid: u32) -> anyhow::Result<Memory> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))
        .with_context(|| format!("process {pid} has ended"))?;
    let value = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse().ok()
    };
    Ok(Memory {
        now: value("VmRSS:").context("no VmRSS")?,
        peak: value("VmHWM:").context("no VmHWM")?,
    })
}

/// How many processes want a processor, on average over the last minute.
///
/// # Errors
/// When `/proc` does not tell it, as of a process that has ended.
pub fn load_average() -> anyhow::Result<f64> {
    let text = std::fs::read_to_string("/proc/loadavg")?;
    let first = text.split(' ').next().context("an empty /proc/loadavg")?;
    Ok(first.parse()?)
}

/// Huge pages that the machine sets aside (`vm.nr_hugepages`), of 2 MiB each on most.
pub fn huge_pages() -> anyhow::Result<u64> {
    let text = std::fs::read_to_string("/proc/sys/vm/nr_hugepages")?;
    Ok(text.trim().parse()?)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn the_time_of_children_counts_while_they_run_and_afterwards() {
        let burn = |ticks: u32| {
            format!(
                "i=0; while [ $i -lt {} ]; do i=$((i+1)); done",
                200_000 * ticks
            )
        };
        // The shell's child burns time, then the shell waits for its end, then it sleeps.
        let script = format!("sh -c '{}'; echo done; exec sleep 60", burn(2));
        let mut shell = Command::new("sh")
            .args(["-c", &script])
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut output = std::io::BufReader::new(shell.stdout.take().unwrap());
        std::io::BufRead::read_line(&mut output, &mut line).unwrap();
        let used = cpu_of_tree(shell.id()).unwrap();
        let memory = memory(shell.id()).unwrap();
        shell.kill().unwrap();
        shell.wait().unwrap();
        assert!(used >= TICK, "{used:?}");
        assert!(memory.peak >= memory.now && memory.now > 0, "{memory:?}");
        assert!(cpu_of_tree(shell.id()).is_err());
    }
}
