// SPDX-License-Identifier: GPL-2.0-or-later
//! Finds the GOT entries: the words in which the executable keeps the addresses of
//! functions of other libraries that it calls.
//!
//! A call of a library's function is a jump to the address that lies in a word of
//! the *global offset table*. Which word belongs to which function is said by the
//! relocations: the dynamic linker needs them to fill the words in, so they are
//! there in every executable that is dynamically linked, stripped or not. Two
//! types make such a word:
//!
//! - `JUMP_SLOT`: for calls through the procedure linkage table, what compilers do
//!   if not told otherwise. The dynamic linker may fill the word in at the first
//!   call; until then it holds an address in the executable's own table.
//! - `GLOB_DAT`: for calls without that table (`-fno-plt`), and where the program
//!   takes the function's address.
//!
//! A function can have one of each. Any other relocation by that name, for instance
//! of a pointer in the program's data, is a call that would pass us by: it is an
//! error, as all that is not understood.
//!
//! Everything here only reads, and only within the parts of the image that are
//! never written to, whatever the image says.

use core::ffi::{c_int, c_void};
use core::ops::Range;
use core::slice;

use object::NativeEndian as NATIVE;
use object::elf::{
    DT_JMPREL, DT_NULL, DT_PLTREL, DT_PLTRELSZ, DT_REL, DT_RELA, DT_RELAENT, DT_RELASZ, DT_STRSZ,
    DT_STRTAB, DT_SYMENT, DT_SYMTAB, Dyn64, DynamicTag, PF_R, PF_W, PT_DYNAMIC, PT_GNU_RELRO,
    PT_LOAD, ProgramHeader64, R_AARCH64_GLOB_DAT, R_AARCH64_JUMP_SLOT, R_X86_64_GLOB_DAT,
    R_X86_64_JUMP_SLOT, Rela64, RelocationType, SHN_UNDEF, Sym64,
};
use object::{NativeEndian, pod};

type Header = ProgramHeader64<NativeEndian>;

/// The types of relocation that make a GOT entry on this machine.
const SLOT_TYPES: &[RelocationType] = if cfg!(target_arch = "x86_64") {
    &[R_X86_64_JUMP_SLOT, R_X86_64_GLOB_DAT]
} else if cfg!(target_arch = "aarch64") {
    &[R_AARCH64_JUMP_SLOT, R_AARCH64_GLOB_DAT]
} else {
    &[]
};

/// A word that holds the address of a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct GotEntry {
    /// Which of the names that were looked for.
    pub(super) name: usize,
    /// Where it lies in this process.
    pub(super) at: usize,
    /// The dynamic linker has made its page read-only.
    pub(super) read_only: bool,
}

/// An executable as it lies in memory.
pub(super) struct Image<'a> {
    /// What is added to the addresses in the file.
    bias: u64,
    headers: &'a [Header],
    /// What can be read, by its address in the file.
    parts: Vec<(u64, &'a [u8])>,
    page: u64,
}

impl<'a> Image<'a> {
    /// An image whose segments `load` gives: the bytes for a header.
    fn new(
        bias: u64,
        headers: &'a [Header],
        page: u64,
        load: impl Fn(&Header) -> Option<&'a [u8]>,
    ) -> Image<'a> {
        let parts = headers.iter().filter(|h| Self::is_constant(h));
        let parts = parts.filter_map(|h| Some((h.p_vaddr.get(NATIVE), load(h)?)));
        Image {
            bias,
            headers,
            parts: parts.collect(),
            page,
        }
    }

    /// Nobody writes to it once the program runs. That holds for the dynamic
    /// section, too, though it may lie in a segment that can be written to.
    fn is_constant(header: &Header) -> bool {
        let flags = header.p_flags.get(NATIVE);
        match header.p_type.get(NATIVE) {
            PT_LOAD => flags.0 & PF_R.0 != 0 && flags.0 & PF_W.0 == 0,
            PT_DYNAMIC => true,
            _ => false,
        }
    }

    /// The executable of this process. Modules and libraries are other images, with
    /// GOT entries of their own.
    ///
    /// # Errors
    ///
    /// A sentence that says what is missing.
    pub(super) fn of_this_process() -> Result<Image<'static>, String> {
        unsafe extern "C" fn first(
            info: *mut libc::dl_phdr_info,
            _size: usize,
            found: *mut c_void,
        ) -> c_int {
            // SAFETY: `info` is valid during the call, and `found` is what is
            // handed to dl_iterate_phdr below.
            unsafe {
                let info = &*info;
                let found = &mut *found.cast::<Option<(u64, *const Header, usize)>>();
                let headers = info.dlpi_phdr.cast::<Header>();
                *found = Some((info.dlpi_addr, headers, info.dlpi_phnum.into()));
            }
            1 // no more: the first is the executable (dl_iterate_phdr(3))
        }
        if SLOT_TYPES.is_empty() {
            return Err("interposition supports only x86-64 and aarch64".to_owned());
        }
        let mut found: Option<(u64, *const Header, usize)> = None;
        // SAFETY: `first` is made for this argument, which outlives the call.
        unsafe { libc::dl_iterate_phdr(Some(first), (&raw mut found).cast()) };
        let (bias, headers, count) = found
            .filter(|(_, headers, _)| !headers.is_null())
            .ok_or("the dynamic linker does not report where the executable is mapped")?;
        // SAFETY: `count` headers, of which nobody changes one; the executable stays
        // where it is until the process ends.
        let headers = unsafe { slice::from_raw_parts(headers, count) };
        Ok(Image::new(bias, headers, page_size()?, |header| {
            let at = bias.checked_add(header.p_vaddr.get(NATIVE))?;
            let length = header.p_filesz.get(NATIVE).min(header.p_memsz.get(NATIVE));
            if at == 0 {
                return None;
            }
            // SAFETY: the loader has mapped the segment there, readable, and
            // `is_constant` says that nobody writes to it.
            Some(unsafe { slice::from_raw_parts(at as *const u8, length as usize) })
        }))
    }

    /// The addresses in this process that belong to the executable.
    pub(super) fn extent(&self) -> Range<usize> {
        let file = self.extent_in_file();
        let run_time = |address: u64| self.bias.wrapping_add(address) as usize;
        run_time(file.start)..run_time(file.end)
    }

    fn extent_in_file(&self) -> Range<u64> {
        let spans = || self.of_type(PT_LOAD.0).map(span);
        let start = spans().map(|span| span.start).min();
        let end = spans().map(|span| span.end).max();
        start.unwrap_or(0)..end.unwrap_or(0)
    }

    fn of_type(&self, kind: u32) -> impl Iterator<Item = &'a Header> {
        let headers = self.headers.iter();
        headers.filter(move |header| header.p_type.get(NATIVE).0 == kind)
    }

    /// The GOT entries of all functions in `names`, none twice.
    ///
    /// # Errors
    ///
    /// A sentence that names what was not understood.
    pub(super) fn entries(&self, names: &[&str]) -> Result<Vec<GotEntry>, String> {
        let dynamic = Dynamic::of(self)?;
        let mut entries: Vec<GotEntry> = Vec::new();
        for &relocation in &dynamic.relocations {
            // 0: of no symbol, as nearly all are
            let number = relocation.r_sym(NATIVE, false);
            if number == 0 {
                continue;
            }
            let (name, symbol) = dynamic.symbol(number)?;
            let Some(index) = names.iter().position(|wanted| wanted.as_bytes() == name) else {
                continue;
            };
            let entry = self.entry(relocation, symbol, index, names[index])?;
            // some linkers list the jump GOT entries among the others as well
            if !entries.contains(&entry) {
                entries.push(entry);
            }
        }
        Ok(entries)
    }

    fn entry(
        &self,
        relocation: &Rela64<NativeEndian>,
        symbol: &Sym64<NativeEndian>,
        index: usize,
        name: &str,
    ) -> Result<GotEntry, String> {
        if symbol.st_shndx.get(NATIVE) != SHN_UNDEF {
            return Err(format!("the executable defines its own function {name}"));
        }
        let kind = relocation.r_type(NATIVE, false);
        let addend = relocation.r_addend.get(NATIVE);
        if !SLOT_TYPES.contains(&kind) || addend != 0 {
            return Err(format!(
                "cannot interpose on {name}: the executable has an unsupported relocation for it \
                 (type {}, addend {addend})",
                kind.0
            ));
        }
        let offset = relocation.r_offset.get(NATIVE);
        let end = offset.saturating_add(size_of::<usize>() as u64);
        let written = self.of_type(PT_LOAD.0).any(|header| {
            let span = span(header);
            header.p_flags.get(NATIVE).0 & PF_W.0 != 0 && span.start <= offset && end <= span.end
        });
        let at = self.bias.wrapping_add(offset) as usize;
        if !written || !at.is_multiple_of(align_of::<usize>()) {
            return Err(format!(
                "the executable's GOT entry for {name} at {offset:#x} is misaligned or outside its \
                 writable segments"
            ));
        }
        Ok(GotEntry {
            name: index,
            at,
            read_only: self.is_read_only(at as u64),
        })
    }

    /// The dynamic linker makes the whole pages in PT_GNU_RELRO read-only, once it
    /// has relocated the image.
    fn is_read_only(&self, at: u64) -> bool {
        self.of_type(PT_GNU_RELRO.0).any(|header| {
            let span = span(header);
            let down = |address: u64| {
                let address = self.bias.wrapping_add(address);
                address - address % self.page
            };
            (down(span.start)..down(span.end)).contains(&at)
        })
    }

    /// `length` bytes at an address in the file.
    fn bytes(&self, at: u64, length: u64) -> Option<&'a [u8]> {
        self.parts.iter().find_map(|&(start, bytes)| {
            let from = usize::try_from(at.checked_sub(start)?).ok()?;
            let to = from.checked_add(usize::try_from(length).ok()?)?;
            bytes.get(from..to)
        })
    }
}

/// Where a segment lies, by its addresses in the file.
fn span(header: &Header) -> Range<u64> {
    let start = header.p_vaddr.get(NATIVE);
    start..start.saturating_add(header.p_memsz.get(NATIVE))
}

fn page_size() -> Result<u64, String> {
    // SAFETY: reads a constant of the system.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    let size = u64::try_from(size).ok().filter(|&size| size > 0);
    size.ok_or_else(|| "the system does not report its page size".to_owned())
}

/// What the dynamic section points to.
struct Dynamic<'a> {
    relocations: Vec<&'a Rela64<NativeEndian>>,
    image: &'a Image<'a>,
    symbols: u64,
    strings: &'a [u8],
}

impl<'a> Dynamic<'a> {
    fn of(image: &'a Image<'a>) -> Result<Dynamic<'a>, String> {
        let header = image.of_type(PT_DYNAMIC.0).next();
        let header = header.ok_or("the executable is not dynamically linked")?;
        let section = span(header);
        let bytes = image.bytes(section.start, header.p_filesz.get(NATIVE));
        let bytes = bytes.ok_or("the executable's dynamic section is truncated")?;
        let count = bytes.len() / size_of::<Dyn64<NativeEndian>>();
        let (entries, _) = pod::slice_from_bytes::<Dyn64<NativeEndian>>(bytes, count)
            .map_err(|()| "the executable's dynamic section cannot be read")?;
        let value = |tag: DynamicTag| {
            let mut entries = entries
                .iter()
                .take_while(|entry| entry.d_tag.get(NATIVE) != DT_NULL);
            entries
                .find(|entry| entry.d_tag.get(NATIVE) == tag)
                .map(|entry| entry.d_val.get(NATIVE))
        };
        // glibc has made addresses of this process of them, musl has not. An image
        // lies above all addresses in its file, or where the file says.
        let extent = image.extent_in_file();
        let address = |tag: DynamicTag| {
            let address = value(tag)?;
            let in_file = address.wrapping_sub(image.bias);
            Some(if extent.contains(&in_file) {
                in_file
            } else {
                address
            })
        };
        let expect = |tag: DynamicTag, size: usize| match value(tag) {
            Some(other) if other != size as u64 => {
                let tag = tag.0;
                Err(format!(
                    "the executable's dynamic tag {tag} is {other}, not {size}"
                ))
            }
            _ => Ok(()),
        };
        expect(DT_RELAENT, size_of::<Rela64<NativeEndian>>())?;
        expect(DT_SYMENT, size_of::<Sym64<NativeEndian>>())?;
        expect(DT_PLTREL, DT_RELA.0 as usize)?;
        if value(DT_REL).is_some() {
            return Err(
                "the executable has relocations without addends, which are not supported"
                    .to_owned(),
            );
        }
        let symbols = address(DT_SYMTAB).ok_or("the executable has no dynamic symbols")?;
        let strings = address(DT_STRTAB)
            .zip(value(DT_STRSZ))
            .and_then(|(at, length)| image.bytes(at, length))
            .ok_or("the names of the executable's dynamic symbols cannot be read")?;
        let mut relocations = Vec::new();
        for (table, size) in [(DT_JMPREL, DT_PLTRELSZ), (DT_RELA, DT_RELASZ)] {
            let (Some(at), Some(size)) = (address(table), value(size)) else {
                continue;
            };
            let all = image
                .bytes(at, size)
                .and_then(|bytes| pod::slice_from_all_bytes::<Rela64<NativeEndian>>(bytes).ok())
                .ok_or("the executable's relocations cannot be read")?;
            relocations.extend(all);
        }
        Ok(Dynamic {
            relocations,
            image,
            symbols,
            strings,
        })
    }

    fn symbol(&self, number: u32) -> Result<(&'a [u8], &'a Sym64<NativeEndian>), String> {
        let missing = || format!("the executable's dynamic symbol {number} cannot be read");
        let size = size_of::<Sym64<NativeEndian>>() as u64;
        let at = u64::from(number)
            .checked_mul(size)
            .and_then(|offset| self.symbols.checked_add(offset))
            .ok_or_else(missing)?;
        let bytes = self.image.bytes(at, size).ok_or_else(missing)?;
        let (symbol, _) = pod::from_bytes::<Sym64<NativeEndian>>(bytes).map_err(|()| missing())?;
        let name = self
            .strings
            .get(symbol.st_name.get(NATIVE) as usize..)
            .and_then(|rest| rest.split(|&byte| byte == 0).next())
            .ok_or_else(missing)?;
        Ok((name, symbol))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use object::read::elf::ElfFile64;
    use proptest::prelude::*;

    const PAGE: u64 = 4096;

    /// A file's segments, as if they lay at the addresses that the file gives.
    fn loaded(file: &[u8]) -> Option<Image<'_>> {
        let elf = ElfFile64::<NativeEndian>::parse(file).ok()?;
        Some(Image::new(0, elf.elf_program_headers(), PAGE, |header| {
            let from = header.p_offset.get(NATIVE) as usize;
            let to = from.checked_add(header.p_filesz.get(NATIVE) as usize)?;
            file.get(from..to)
        }))
    }

    fn entries(file: &[u8], names: &[&str]) -> Result<Vec<GotEntry>, String> {
        loaded(file).ok_or("no ELF file")?.entries(names)
    }

    fn shell() -> Vec<u8> {
        std::fs::read("/bin/sh").unwrap()
    }

    /// What the `object` crate's reader of sections finds.
    fn by_sections(file: &[u8], name: &str) -> Vec<usize> {
        use object::{Object as _, ObjectSymbol as _, ObjectSymbolTable as _, RelocationTarget};
        let elf = ElfFile64::<NativeEndian>::parse(file).unwrap();
        let symbols = elf.dynamic_symbol_table().unwrap();
        let relocations = elf.dynamic_relocations().unwrap();
        let of_name = relocations.filter(|(_, relocation)| match relocation.target() {
            RelocationTarget::Symbol(index) => {
                symbols.symbol_by_index(index).unwrap().name() == Ok(name)
            }
            _ => false,
        });
        let mut at: Vec<_> = of_name.map(|(at, _)| at as usize).collect();
        at.sort_unstable();
        at
    }

    #[test]
    fn the_slots_of_a_file_are_those_of_its_sections() {
        let file = shell();
        for name in ["close", "fork", "read", "waitpid", "execve"] {
            let found = entries(&file, &[name]).unwrap();
            let mut at: Vec<_> = found.iter().map(|entry| entry.at).collect();
            at.sort_unstable();
            assert_eq!(at, by_sections(&file, name), "{name}");
        }
        assert_eq!(entries(&file, &["close"]).unwrap().len(), 1);
    }

    #[test]
    fn no_slot_of_what_is_not_called() {
        assert_eq!(entries(&shell(), &["clos", "closes", ""]), Ok(Vec::new()));
    }

    #[test]
    fn our_own_slots_hold_addresses_of_functions() {
        let image = Image::of_this_process().unwrap();
        let found = image.entries(&["close", "accept4"]).unwrap();
        assert!(found.iter().any(|entry| entry.name == 0));
        for entry in found {
            assert!(image.extent().contains(&entry.at));
            // SAFETY: a GOT entry, which nobody writes to.
            let function = unsafe { *(entry.at as *const usize) };
            assert_ne!(function, 0);
        }
    }

    #[test]
    fn what_is_no_executable_is_refused() {
        assert!(entries(b"#!/bin/sh\n", &["close"]).is_err());
        assert!(entries(&[], &["close"]).is_err());
    }

    #[test]
    fn a_file_that_ends_early_is_refused() {
        let file = shell();
        for length in (64..file.len()).step_by(997) {
            // the rest of a segment is missing: whatever is found is in what is there
            let _ = entries(&file[..length], &["close"]);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        /// Whatever the file says, nothing outside its segments is read, and no
        /// GOT entry is anywhere else.
        #[test]
        fn a_damaged_file_does_no_harm(
            damage in prop::collection::vec((0usize..0x4000, any::<u8>()), 1..40),
            headers in prop::collection::vec((64usize..64 + 56 * 13, any::<u8>()), 0..4),
        ) {
            let mut file = shell();
            for (at, value) in damage.into_iter().chain(headers) {
                if let Some(byte) = file.get_mut(at) {
                    *byte = value;
                }
            }
            if let Some(image) = loaded(&file) {
                let _ = image.entries(&["close", "accept", "accept4"]);
                let _ = image.extent();
            }
        }
    }
}
