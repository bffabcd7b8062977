//! A profile to the kernel's own program.
//!
//! ```text
//! architecture is X?  number > 3? no: allow  number > 4? no: EPERM  ...  else: ENOSYS
//! architecture is Y?  ...
//! else: kill
//! ```
//!
//! # Invariants
//! - Numbers are asked in ascending ranges, so a program has two instructions for each change of what is done, and ends.
//! - Jumps of more than 255 instructions, which conditions can't have, are unconditional ones.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::profile::{Condition, Profile, Rule, Where};
use super::table::{Architecture, go_name, of_machine};

/// What the kernel takes.
const INSTRUCTIONS_MAX: usize = 4096;
/// Arguments of a call.
const ARGUMENTS: u32 = 6;

/// One instruction, as the kernel lays it out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(u16, u8, u8, u32)", into = "(u16, u8, u8, u32)")]
#[repr(C)]
pub(crate) struct Instruction {
    code: u16,
    yes: u8,
    no: u8,
    value: u32,
}

impl From<(u16, u8, u8, u32)> for Instruction {
    fn from((code, yes, no, value): (u16, u8, u8, u32)) -> Self {
        Self { code, yes, no, value }
    }
}

impl From<Instruction> for (u16, u8, u8, u32) {
    fn from(of: Instruction) -> Self {
        (of.code, of.yes, of.no, of.value)
    }
}

/// What is installed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Filter {
    /// Of seccomp(2).
    pub(crate) flags: u32,
    /// See the module.
    pub(crate) program: Vec<Instruction>,
}

/// Loads a word of what the kernel tells about the call.
const LOAD: u16 = 0x20;
/// Keeps only some bits.
const AND: u16 = 0x54;
const JUMP: u16 = 0x05;
const IS_EQUAL: u16 = 0x15;
const IS_GREATER: u16 = 0x25;
const IS_GREATER_OR_EQUAL: u16 = 0x35;
const RETURN: u16 = 0x06;

/// Where the number, the architecture and the arguments of a call are.
const NUMBER_AT: u32 = 0;
const ARCHITECTURE_AT: u32 = 4;
const ARGUMENTS_AT: u32 = 16;

/// What the kernel is to do, as it wants it told.
type Action = u32;

const KILL_THREAD: Action = 0;
const KILL_PROCESS: Action = 0x8000_0000;
const TRAP: Action = 0x0003_0000;
const ERRNO: Action = 0x0005_0000;
const TRACE: Action = 0x7FF0_0000;
const LOG: Action = 0x7FFC_0000;
const ALLOW: Action = 0x7FFF_0000;
/// The part of an action that goes with it.
const DATA: u32 = 0xFFFF;

fn instruction(code: u16, yes: usize, no: usize, value: u32) -> Result<Instruction, String> {
    let near =
        |steps: usize| u8::try_from(steps).map_err(|_| "the seccomp profile has a rule that is too long".to_owned());
    Ok(Instruction { code, yes: near(yes)?, no: near(no)?, value })
}

fn plain(code: u16, value: u32) -> Instruction {
    Instruction { code, yes: 0, no: 0, value }
}

/// Makes the program for a container with these capabilities.
///
/// # Errors
/// A text for people: what the profile asks for and can't be.
pub(crate) fn compile(profile: &Profile, capabilities: &[String], kernel: (u32, u32)) -> Result<Filter, String> {
    let machine = of_machine();
    let Some(own) = machine.first() else {
        return Err("seccomp profiles are not known for this machine's architecture".to_owned());
    };
    if !profile.listener_path.is_empty() {
        return Err("seccomp profiles with a listenerPath are not supported".to_owned());
    }
    let fallback = action(&profile.default_action, profile.default_errno_ret)?;
    let place = Place { architecture: own, capabilities, kernel };
    let rules: Vec<&Rule> = profile.syscalls.iter().flatten().filter(|rule| place.has(rule)).collect();
    let mut program = vec![plain(LOAD, ARCHITECTURE_AT)];
    for architecture in machine.iter().filter(|one| one.audit == own.audit || named(profile, own).contains(&one.name)) {
        let section = section(architecture, &rules, fallback)?;
        let length = u32::try_from(section.len()).map_err(|error| error.to_string())?;
        program.push(instruction(IS_EQUAL, 1, 0, architecture.audit)?);
        program.push(plain(JUMP, length));
        program.extend(section);
    }
    program.push(plain(RETURN, KILL_THREAD));
    if program.len() > INSTRUCTIONS_MAX {
        return Err(format!("the seccomp profile is too large: {} instructions of {INSTRUCTIONS_MAX}", program.len()));
    }
    Ok(Filter { flags: flags(profile)?, program })
}

/// The architectures that the profile names.
fn named<'a>(profile: &'a Profile, own: &Architecture) -> Vec<&'a str> {
    let map = profile.arch_map.iter().flatten().filter(|map| map.architecture == own.name);
    let sub = map.flat_map(|map| map.sub_architectures.iter().flatten());
    profile.architectures.iter().flatten().chain(sub).map(String::as_str).collect()
}

fn flags(profile: &Profile) -> Result<u32, String> {
    let mut flags = 0;
    for flag in profile.flags.iter().flatten() {
        flags |= match flag.as_str() {
            // One thread becomes the program: there are no others to bring along.
            "SECCOMP_FILTER_FLAG_TSYNC" => 0,
            "SECCOMP_FILTER_FLAG_LOG" => 2,
            "SECCOMP_FILTER_FLAG_SPEC_ALLOW" => 4,
            other => return Err(format!("seccomp flag {other:?} is not supported")),
        };
    }
    Ok(flags)
}

fn action(name: &str, errno: Option<u32>) -> Result<Action, String> {
    let errno = errno.unwrap_or(libc::EPERM.unsigned_abs()) & DATA;
    Ok(match name {
        "SCMP_ACT_ALLOW" => ALLOW,
        "SCMP_ACT_ERRNO" => ERRNO | errno,
        "SCMP_ACT_LOG" => LOG,
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => KILL_THREAD,
        "SCMP_ACT_KILL_PROCESS" => KILL_PROCESS,
        "SCMP_ACT_TRAP" => TRAP,
        "SCMP_ACT_TRACE" => TRACE | errno,
        other => return Err(format!("seccomp action {other:?} is not supported")),
    })
}

/// What rules may ask about.
struct Place<'a> {
    architecture: &'a Architecture,
    capabilities: &'a [String],
    kernel: (u32, u32),
}

impl Place<'_> {
    fn has(&self, rule: &Rule) -> bool {
        let included = rule.includes.as_ref().is_none_or(|on| {
            let caps = on.caps.iter().flatten().all(|cap| self.capabilities.contains(cap));
            caps && on.arches.as_ref().is_none_or(|list| list.is_empty() || self.is_one_of(list)) && self.is_new(on)
        });
        let excluded = rule.excludes.as_ref().is_some_and(|on| {
            let caps = on.caps.iter().flatten().any(|cap| self.capabilities.contains(cap));
            let arches = on.arches.as_ref().is_some_and(|list| self.is_one_of(list));
            caps || arches || (!on.min_kernel.is_empty() && self.is_new(on))
        });
        included && !excluded
    }

    fn is_one_of(&self, arches: &[String]) -> bool {
        arches.iter().any(|name| name == go_name(self.architecture))
    }

    fn is_new(&self, on: &Where) -> bool {
        let Some((major, minor)) = on.min_kernel.split_once('.') else { return true };
        let number = |text: &str| text.parse::<u32>().unwrap_or(0);
        self.kernel >= (number(major), number(minor))
    }
}

/// What is done about a number.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Answer {
    Always(Action),
    /// The first whose conditions hold, else the last.
    By(Vec<(Vec<Condition>, Action)>, Action),
}

fn section(architecture: &Architecture, rules: &[&Rule], fallback: Action) -> Result<Vec<Instruction>, String> {
    let mut answers: BTreeMap<u32, Answer> = BTreeMap::new();
    for rule in rules {
        let done = action(&rule.action, rule.errno_ret)?;
        let names = rule.names.iter().chain(Some(&rule.name).filter(|name| !name.is_empty()));
        for number in names.filter_map(|name| (architecture.number)(name)) {
            let answer = answers.entry(number).or_insert_with(|| Answer::By(Vec::new(), fallback));
            let Answer::By(list, _) = answer else { continue };
            match alternatives(rule)? {
                // Nothing after it is ever asked.
                None if list.is_empty() => *answer = Answer::Always(done),
                None => {
                    list.push((Vec::new(), done));
                }
                Some(more) => list.extend(more.into_iter().map(|conditions| (conditions, done))),
            }
        }
    }
    let mut code = vec![plain(LOAD, NUMBER_AT)];
    let newest = answers.keys().next_back().copied();
    let mut next = 0;
    let mut ranges: Vec<(u32, Answer)> = Vec::new();
    let mut put = |end: u32, answer: Answer| match ranges.last_mut() {
        Some((last, same)) if *same == answer && matches!(answer, Answer::Always(_)) => *last = end,
        _ => ranges.push((end, answer)),
    };
    for (number, answer) in answers {
        if number > next {
            put(number - 1, Answer::Always(fallback));
        }
        put(number, answer);
        next = number + 1;
    }
    for (end, answer) in ranges {
        ask(&mut code, end, &answer)?;
    }
    // Newer than what the profile knows: programs take it for an older kernel, and go on with what that has.
    let refuses = !matches!(fallback, ALLOW | LOG);
    let beyond = if refuses && newest.is_some() { ERRNO | libc::ENOSYS.unsigned_abs() } else { fallback };
    code.push(plain(RETURN, beyond));
    Ok(code)
}

/// Conditions that must hold together, by alternatives: several about one argument are alternatives. None asks nothing.
fn alternatives(rule: &Rule) -> Result<Option<Vec<Vec<Condition>>>, String> {
    let Some(conditions) = rule.args.as_ref().filter(|args| !args.is_empty()) else { return Ok(None) };
    if let Some(bad) = conditions.iter().find(|one| one.index >= ARGUMENTS) {
        return Err(format!("the seccomp profile asks for argument {} of a call, which has {ARGUMENTS}", bad.index));
    }
    let mut indices: Vec<u32> = conditions.iter().map(|one| one.index).collect();
    indices.sort_unstable();
    indices.dedup();
    if indices.len() == conditions.len() {
        return Ok(Some(vec![conditions.clone()]));
    }
    Ok(Some(conditions.iter().map(|one| vec![one.clone()]).collect()))
}

/// Numbers up to `end` end here.
fn ask(code: &mut Vec<Instruction>, end: u32, answer: &Answer) -> Result<(), String> {
    match answer {
        Answer::Always(action) => {
            code.push(instruction(IS_GREATER, 1, 0, end)?);
            code.push(plain(RETURN, *action));
        }
        Answer::By(list, fallback) => {
            let mut body = Vec::new();
            for (conditions, action) in list {
                body.extend(conditional(conditions, *action)?);
            }
            body.push(plain(RETURN, *fallback));
            code.push(instruction(IS_GREATER, 0, 1, end)?);
            code.push(plain(JUMP, u32::try_from(body.len()).map_err(|error| error.to_string())?));
            code.extend(body);
        }
    }
    Ok(())
}

/// `action` where all hold; what follows where one does not.
fn conditional(conditions: &[Condition], action: Action) -> Result<Vec<Instruction>, String> {
    let mut code = vec![plain(RETURN, action)];
    for condition in conditions.iter().rev() {
        let mut test = holds(condition, code.len())?;
        test.append(&mut code);
        code = test;
    }
    Ok(code)
}

/// Goes on where the condition holds, and skips `fail` instructions more where it does not. Arguments have two words, the
/// upper one is asked first.
fn holds(condition: &Condition, fail: usize) -> Result<Vec<Instruction>, String> {
    let low_at = ARGUMENTS_AT + 8 * condition.index;
    let (low, high) = (plain(LOAD, low_at), plain(LOAD, low_at + 4));
    let words = |value: u64| ((value >> 32) as u32, value as u32);
    let (upper, lower) = words(condition.value);
    Ok(match condition.op.as_str() {
        "SCMP_CMP_EQ" => {
            vec![high, instruction(IS_EQUAL, 0, fail + 2, upper)?, low, instruction(IS_EQUAL, 0, fail, lower)?]
        }
        "SCMP_CMP_NE" => vec![high, instruction(IS_EQUAL, 0, 2, upper)?, low, instruction(IS_EQUAL, fail, 0, lower)?],
        op @ ("SCMP_CMP_GT" | "SCMP_CMP_GE") => {
            let last = if op == "SCMP_CMP_GT" { IS_GREATER } else { IS_GREATER_OR_EQUAL };
            vec![
                high,
                instruction(IS_GREATER, 3, 0, upper)?,
                instruction(IS_EQUAL, 0, fail + 2, upper)?,
                low,
                instruction(last, 0, fail, lower)?,
            ]
        }
        op @ ("SCMP_CMP_LT" | "SCMP_CMP_LE") => {
            let last = if op == "SCMP_CMP_LT" { IS_GREATER_OR_EQUAL } else { IS_GREATER };
            vec![
                high,
                instruction(IS_GREATER, fail + 3, 0, upper)?,
                instruction(IS_EQUAL, 0, 2, upper)?,
                low,
                instruction(last, fail, 0, lower)?,
            ]
        }
        "SCMP_CMP_MASKED_EQ" => {
            let (wanted_upper, wanted_lower) = words(condition.value_two);
            vec![
                high,
                plain(AND, upper),
                instruction(IS_EQUAL, 0, fail + 3, wanted_upper)?,
                low,
                plain(AND, lower),
                instruction(IS_EQUAL, 0, fail, wanted_lower)?,
            ]
        }
        other => return Err(format!("seccomp operator {other:?} is not one")),
    })
}

#[cfg(test)]
#[path = "compile_tests.rs"]
mod tests;
