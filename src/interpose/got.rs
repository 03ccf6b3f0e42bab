// SPDX-License-Identifier: GPL-2.0-or-later
//! Finds the GOT entries: the words in which the executable keeps the addresses of the
//! library functions that it calls.
//!
//! A call of a library's function is a jump to the address in a word of the *global offset
//! table*. The relocations say which word belongs to which function. The dynamic linker
//! needs them to fill the words in, so every dynamically linked executable has them,
//! stripped or not. Two types make such a word:
//!
//! - `JUMP_SLOT`: for calls through the procedure linkage table, the default of compilers.
//!   The dynamic linker may fill the word in at the first call; until then it holds an
//!   address in the executable's own table.
//! - `GLOB_DAT`: for calls without that table (`-fno-plt`), and where the program takes the
//!   function's address.
//!
//! A function can have one of each. Any other relocation with that name, for instance of a
//! pointer in the program's data, stands for a call that the change would not reach. It is
//! an error, like everything else that is not understood.
//!
//! This file only reads, and only within those parts of the image that are never written
//! to, whatever the image contains.

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

use super::refused::Refused;
use crate::shared::region::page_size;

type Header = ProgramHeader64<NativeEndian>;

/// The types of relocations that make a GOT entry on this processor.
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
    /// Index of the function's name in the names that were searched for.
    pub(super) name: usize,
    /// Its address in this process.
    pub(super) at: usize,
    /// Whether the dynamic linker has made its page read-only.
    pub(super) read_only: bool,
}

/// An executable as it is mapped in memory.
pub(super) struct Image<'a> {
    /// An address in this process minus the address in the file.
    bias: u64,
    headers: &'a [Header],
    /// The constant segments, each with its address in the file.
    parts: Vec<(u64, &'a [u8])>,
    /// The system's page size in bytes.
    page: u64,
}

impl<'a> Image<'a> {
    /// An image with these program headers. `load` returns the bytes of a header's segment.
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

    /// Whether the segment is readable and never written to once the program runs. This
    /// includes the dynamic section, although its segment may be writable.
    fn is_constant(header: &Header) -> bool {
        let flags = header.p_flags.get(NATIVE);
        match header.p_type.get(NATIVE) {
            PT_LOAD => flags.0 & PF_R.0 != 0 && flags.0 & PF_W.0 == 0,
            PT_DYNAMIC => true,
            _ => false,
        }
    }

    /// The executable of this process. Modules and libraries are other images, with GOT
    /// entries of their own.
    ///
    /// # Errors
    ///
    /// [`Refused`].
    pub(super) fn of_this_process() -> Result<Image<'static>, Refused> {
        unsafe extern "C" fn first(
            info: *mut libc::dl_phdr_info,
            _size: usize,
            found: *mut c_void,
        ) -> c_int {
            // SAFETY: `info` is valid during the call, and `found` is the pointer that is
            // passed to dl_iterate_phdr below.
            unsafe {
                let info = &*info;
                let found = &mut *found.cast::<Option<(u64, *const Header, usize)>>();
                let headers = info.dlpi_phdr.cast::<Header>();
                *found = Some((info.dlpi_addr, headers, info.dlpi_phnum.into()));
            }
            // Ends the iteration: the first is the executable (dl_iterate_phdr(3)).
            1
        }
        if SLOT_TYPES.is_empty() {
            return Err(Refused::Processor);
        }
        let mut found: Option<(u64, *const Header, usize)> = None;
        // SAFETY: `first` expects a pointer to this type; `found` outlives the call.
        unsafe { libc::dl_iterate_phdr(Some(first), (&raw mut found).cast()) };
        let (bias, headers, count) = found
            .filter(|(_, headers, _)| !headers.is_null())
            .ok_or(Refused::NotReported)?;
        // SAFETY: `count` headers, which are never changed; the executable stays mapped
        // until the process ends.
        let headers = unsafe { slice::from_raw_parts(headers, count) };
        let page = page_size().map_err(Refused::PageSize)?;
        Ok(Image::new(bias, headers, page as u64, |header| {
            let at = bias.checked_add(header.p_vaddr.get(NATIVE))?;
            let length = header.p_filesz.get(NATIVE).min(header.p_memsz.get(NATIVE));
            if at == 0 {
                return None;
            }
            // SAFETY: the loader has mapped the segment there, readable. `new` loads only
            // segments that are never written to, see `is_constant`.
            Some(unsafe { slice::from_raw_parts(at as *const u8, length as usize) })
        }))
    }

    /// The addresses of the executable in this process.
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

    /// The GOT entries of all functions in `names`, each once.
    ///
    /// # Errors
    ///
    /// [`Refused`].
    pub(super) fn entries(&self, names: &[&'static str]) -> Result<Vec<GotEntry>, Refused> {
        let dynamic = Dynamic::of(self)?;
        let mut entries: Vec<GotEntry> = Vec::new();
        for &relocation in &dynamic.relocations {
            // 0: without a symbol, like nearly all relocations.
            let number = relocation.r_sym(NATIVE, false);
            if number == 0 {
                continue;
            }
            let (name, symbol) = dynamic.symbol(number)?;
            let Some(index) = names.iter().position(|wanted| wanted.as_bytes() == name) else {
                continue;
            };
            let entry = self.entry(relocation, symbol, index, names[index])?;
            // Some linkers list the relocations of type JUMP_SLOT twice.
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
        name: &'static str,
    ) -> Result<GotEntry, Refused> {
        if symbol.st_shndx.get(NATIVE) != SHN_UNDEF {
            return Err(Refused::Own(name));
        }
        let kind = relocation.r_type(NATIVE, false);
        let addend = relocation.r_addend.get(NATIVE);
        if !SLOT_TYPES.contains(&kind) || addend != 0 {
            return Err(Refused::Relocation {
                name,
                kind: kind.0,
                addend,
            });
        }
        let offset = relocation.r_offset.get(NATIVE);
        let end = offset.saturating_add(size_of::<usize>() as u64);
        let written = self.of_type(PT_LOAD.0).any(|header| {
            let span = span(header);
            header.p_flags.get(NATIVE).0 & PF_W.0 != 0 && span.start <= offset && end <= span.end
        });
        let at = self.bias.wrapping_add(offset) as usize;
        if !written || !at.is_multiple_of(align_of::<usize>()) {
            return Err(Refused::Entry { name, offset });
        }
        Ok(GotEntry {
            name: index,
            at,
            read_only: self.is_read_only(at as u64),
        })
    }

    /// Whether the dynamic linker has made this address read-only. Once it has relocated
    /// the image, it does this to the whole pages in PT_GNU_RELRO.
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

/// The addresses of a segment in the file.
fn span(header: &Header) -> Range<u64> {
    let start = header.p_vaddr.get(NATIVE);
    start..start.saturating_add(header.p_memsz.get(NATIVE))
}

/// The tables to which the dynamic section points.
struct Dynamic<'a> {
    relocations: Vec<&'a Rela64<NativeEndian>>,
    image: &'a Image<'a>,
    symbols: u64,
    strings: &'a [u8],
}

impl<'a> Dynamic<'a> {
    fn of(image: &'a Image<'a>) -> Result<Dynamic<'a>, Refused> {
        let header = image.of_type(PT_DYNAMIC.0).next().ok_or(Refused::Static)?;
        let section = span(header);
        let bytes = image.bytes(section.start, header.p_filesz.get(NATIVE));
        let bytes = bytes.ok_or(Refused::Unreadable("dynamic section"))?;
        let count = bytes.len() / size_of::<Dyn64<NativeEndian>>();
        let (entries, _) = pod::slice_from_bytes::<Dyn64<NativeEndian>>(bytes, count)
            .map_err(|()| Refused::Unreadable("dynamic section"))?;
        let value = |tag: DynamicTag| {
            let mut entries = entries
                .iter()
                .take_while(|entry| entry.d_tag.get(NATIVE) != DT_NULL);
            entries
                .find(|entry| entry.d_tag.get(NATIVE) == tag)
                .map(|entry| entry.d_val.get(NATIVE))
        };
        // glibc has converted these addresses to addresses in this process; musl has not.
        // They can be distinguished: an image is mapped either above all addresses in its
        // file, or exactly at them.
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
            Some(value) if value != size as u64 => Err(Refused::Tag {
                tag: tag.0,
                value,
                expected: size,
            }),
            _ => Ok(()),
        };
        expect(DT_RELAENT, size_of::<Rela64<NativeEndian>>())?;
        expect(DT_SYMENT, size_of::<Sym64<NativeEndian>>())?;
        expect(DT_PLTREL, DT_RELA.0 as usize)?;
        if value(DT_REL).is_some() {
            return Err(Refused::NoAddends);
        }
        let symbols = address(DT_SYMTAB).ok_or(Refused::NoSymbols)?;
        let strings = address(DT_STRTAB)
            .zip(value(DT_STRSZ))
            .and_then(|(at, length)| image.bytes(at, length))
            .ok_or(Refused::Unreadable("names of dynamic symbols"))?;
        let mut relocations = Vec::new();
        for (table, size) in [(DT_JMPREL, DT_PLTRELSZ), (DT_RELA, DT_RELASZ)] {
            let (Some(at), Some(size)) = (address(table), value(size)) else {
                continue;
            };
            let all = image
                .bytes(at, size)
                .and_then(|bytes| pod::slice_from_all_bytes::<Rela64<NativeEndian>>(bytes).ok())
                .ok_or(Refused::Unreadable("relocations"))?;
            relocations.extend(all);
        }
        Ok(Dynamic {
            relocations,
            image,
            symbols,
            strings,
        })
    }

    /// The name and the record of a dynamic symbol.
    fn symbol(&self, number: u32) -> Result<(&'a [u8], &'a Sym64<NativeEndian>), Refused> {
        let missing = || Refused::Symbol(number);
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

    /// A file's segments, as if they were mapped at the addresses in the file.
    fn loaded(file: &[u8]) -> Option<Image<'_>> {
        let elf = ElfFile64::<NativeEndian>::parse(file).ok()?;
        Some(Image::new(0, elf.elf_program_headers(), PAGE, |header| {
            let from = header.p_offset.get(NATIVE) as usize;
            let to = from.checked_add(header.p_filesz.get(NATIVE) as usize)?;
            file.get(from..to)
        }))
    }

    /// `None` if the file is not an ELF file.
    fn entries(file: &[u8], names: &[&'static str]) -> Option<Result<Vec<GotEntry>, Refused>> {
        loaded(file).map(|image| image.entries(names))
    }

    fn shell() -> Vec<u8> {
        std::fs::read("/bin/sh").unwrap()
    }

    /// The addresses of the GOT entries according to the `object` crate, which reads
    /// sections.
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
    fn entries_are_those_that_the_sections_list() {
        let file = shell();
        for name in ["close", "fork", "read", "waitpid", "execve"] {
            let found = entries(&file, &[name]).unwrap().unwrap();
            let mut at: Vec<_> = found.iter().map(|entry| entry.at).collect();
            at.sort_unstable();
            assert_eq!(at, by_sections(&file, name), "{name}");
        }
        assert_eq!(entries(&file, &["close"]).unwrap().unwrap().len(), 1);
    }

    #[test]
    fn function_that_is_not_called_has_no_entry() {
        let found = entries(&shell(), &["clos", "closes", ""]).unwrap().unwrap();
        assert!(found.is_empty());
    }

    #[test]
    fn entries_of_this_process_hold_addresses() {
        let image = Image::of_this_process().unwrap();
        let found = image.entries(&["close", "accept4"]).unwrap();
        assert!(found.iter().any(|entry| entry.name == 0));
        for entry in found {
            assert!(image.extent().contains(&entry.at));
            // SAFETY: a GOT entry, which is not written to while the test runs.
            let function = unsafe { *(entry.at as *const usize) };
            assert_ne!(function, 0);
        }
    }

    #[test]
    fn other_files_are_not_images() {
        assert!(loaded(b"#!/bin/sh\n").is_none());
        assert!(loaded(&[]).is_none());
    }

    #[test]
    fn truncated_file_does_no_harm() {
        let file = shell();
        for length in (64..file.len()).step_by(997) {
            // The end of a segment is missing. Only the part that exists may be read.
            let _ = entries(&file[..length], &["close"]);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        /// Whatever the file contains, nothing outside its segments is read.
        #[test]
        fn damaged_file_does_no_harm(
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
