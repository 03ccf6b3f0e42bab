// SPDX-License-Identifier: GPL-2.0-or-later
//! [`Assembler`]: writes a program of eBPF instructions, one method for each instruction
//! that the shield needs. The encoding is that of RFC 9669.

#![forbid(unsafe_code)]

/// A register.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Register(u8);

/// The result of a call, and of the program. A call clobbers it and `R1` to `R5`.
pub(super) const R0: Register = Register(0);
/// The context of the program, and the first argument of a call.
pub(super) const R1: Register = Register(1);
pub(super) const R2: Register = Register(2);
pub(super) const R3: Register = Register(3);
pub(super) const R4: Register = Register(4);
pub(super) const R5: Register = Register(5);
/// The first of the registers that a call keeps.
pub(super) const R6: Register = Register(6);
/// The end of the stack, read-only. The stack has 512 bytes below it.
pub(super) const STACK: Register = Register(10);

/// The size of a load or a store.
#[derive(Clone, Copy)]
pub(super) enum Size {
    /// 4 bytes.
    Word = 0x00,
    /// 1 byte.
    Byte = 0x10,
    /// 8 bytes.
    Double = 0x18,
}

/// A function of the kernel, by its number in `linux/bpf.h`.
#[derive(Clone, Copy)]
pub(super) enum Helper {
    /// `bpf_map_lookup_elem(map, key)`: the address of the value, or 0.
    MapLookup = 1,
    /// `bpf_skb_load_bytes(skb, offset, to, length)`: 0, or negative if the packet is too
    /// short. The offset counts from where the packet begins for the socket, which is the
    /// TCP header.
    LoadBytes = 26,
    /// `bpf_skb_load_bytes_relative(skb, offset, to, length, from)`: the same from the header
    /// that `from` names. Linux 4.18.
    LoadBytesRelative = 68,
}

/// The IP header as `from` of [`Helper::LoadBytesRelative`] (`BPF_HDR_START_NET`).
pub(super) const FROM_IP_HEADER: i32 = 1;

/// A position in the program.
#[derive(Clone, Copy)]
pub(super) struct Label(usize);

/// An instruction (`struct bpf_insn`).
pub(super) type Instruction = [u8; 8];

// Classes, and the operations in them.
const LD: u8 = 0x00;
const LDX: u8 = 0x01;
const ST: u8 = 0x02;
const STX: u8 = 0x03;
const ALU: u8 = 0x04;
const JMP: u8 = 0x05;
const ALU64: u8 = 0x07;
const MEMORY: u8 = 0x60;
const ATOMIC: u8 = 0xc0;
const FROM_REGISTER: u8 = 0x08;
const ADD: u8 = 0x00;
const AND: u8 = 0x50;
const SHIFT_RIGHT: u8 = 0x70;
const MOV: u8 = 0xb0;
const JUMP: u8 = 0x00;
const JUMP_EQUAL: u8 = 0x10;
const JUMP_NOT_EQUAL: u8 = 0x50;
const CALL: u8 = 0x80;
const EXIT: u8 = 0x90;

/// What the constant of [`Assembler::load_constant`] is.
const PLAIN: Register = Register(0);
const MAP: Register = Register(1);
const MAP_VALUE: Register = Register(2);

/// A program that is being written.
#[derive(Default)]
pub(super) struct Assembler {
    instructions: Vec<Instruction>,
    /// Where each label is, once it has been placed.
    labels: Vec<Option<usize>>,
    /// Jumps, and where they lead.
    jumps: Vec<(usize, Label)>,
}

impl Assembler {
    /// A label, to be placed later.
    pub(super) fn label(&mut self) -> Label {
        self.labels.push(None);
        Label(self.labels.len() - 1)
    }

    /// Sets `label` before the next instruction.
    pub(super) fn place(&mut self, label: Label) {
        self.labels[label.0] = Some(self.instructions.len());
    }

    /// The program, with all jumps resolved.
    ///
    /// # Panics
    ///
    /// If a label was not placed, or is too far away.
    pub(super) fn finish(mut self) -> Vec<Instruction> {
        for (at, label) in self.jumps {
            let target = self.labels[label.0].expect("each label is placed");
            // From the instruction after the jump.
            let distance = target as i64 - at as i64 - 1;
            let distance = i16::try_from(distance).expect("the program is short");
            self.instructions[at][2..4].copy_from_slice(&distance.to_ne_bytes());
        }
        self.instructions
    }

    fn push(&mut self, code: u8, to: Register, from: Register, offset: i16, constant: i32) {
        let registers = match cfg!(target_endian = "big") {
            true => to.0 << 4 | from.0,
            false => from.0 << 4 | to.0,
        };
        let mut instruction = [0; 8];
        instruction[0] = code;
        instruction[1] = registers;
        instruction[2..4].copy_from_slice(&offset.to_ne_bytes());
        instruction[4..].copy_from_slice(&constant.to_ne_bytes());
        self.instructions.push(instruction);
    }

    /// `to = from`.
    pub(super) fn copy(&mut self, to: Register, from: Register) {
        self.push(ALU64 | MOV | FROM_REGISTER, to, from, 0, 0);
    }

    /// `to = constant`.
    pub(super) fn set(&mut self, to: Register, constant: i32) {
        self.push(ALU64 | MOV, to, PLAIN, 0, constant);
    }

    /// The lower half of `to = constant`, and the upper half 0.
    pub(super) fn set_word(&mut self, to: Register, constant: i32) {
        self.push(ALU | MOV, to, PLAIN, 0, constant);
    }

    /// `to += constant`.
    pub(super) fn add(&mut self, to: Register, constant: i32) {
        self.push(ALU64 | ADD, to, PLAIN, 0, constant);
    }

    /// `to &= from`.
    pub(super) fn and(&mut self, to: Register, from: Register) {
        self.push(ALU64 | AND | FROM_REGISTER, to, from, 0, 0);
    }

    /// The lower half of `to &= constant`, and the upper half 0.
    pub(super) fn and_word(&mut self, to: Register, constant: u32) {
        self.push(ALU | AND, to, PLAIN, 0, constant as i32);
    }

    /// `to >>= bits`.
    pub(super) fn shift_right(&mut self, to: Register, bits: i32) {
        self.push(ALU64 | SHIFT_RIGHT, to, PLAIN, 0, bits);
    }

    /// `to = constant`, 64 bits. It takes two instructions.
    pub(super) fn set_double(&mut self, to: Register, constant: u64) {
        self.load_constant(to, PLAIN, constant as u32, (constant >> 32) as u32);
    }

    /// `to =` the map with this descriptor.
    pub(super) fn set_map(&mut self, to: Register, descriptor: i32) {
        self.load_constant(to, MAP, descriptor as u32, 0);
    }

    /// `to =` the address of the only value of an array with this descriptor. Linux 5.2.
    pub(super) fn set_map_value(&mut self, to: Register, descriptor: i32) {
        self.load_constant(to, MAP_VALUE, descriptor as u32, 0);
    }

    fn load_constant(&mut self, to: Register, kind: Register, lower: u32, upper: u32) {
        self.push(LD | Size::Double as u8, to, kind, 0, lower as i32);
        self.push(0, PLAIN, PLAIN, 0, upper as i32);
    }

    /// `to = *(from + offset)`.
    pub(super) fn load(&mut self, size: Size, to: Register, from: Register, offset: i16) {
        self.push(LDX | MEMORY | size as u8, to, from, offset, 0);
    }

    /// `*(to + offset) = from`.
    pub(super) fn store(&mut self, size: Size, to: Register, offset: i16, from: Register) {
        self.push(STX | MEMORY | size as u8, to, from, offset, 0);
    }

    /// `*(to + offset) = constant`.
    pub(super) fn store_constant(&mut self, size: Size, to: Register, offset: i16, constant: i32) {
        self.push(ST | MEMORY | size as u8, to, PLAIN, offset, constant);
    }

    /// `*(to + offset) += from`, 64 bits, in one step for all processors.
    pub(super) fn atomic_add(&mut self, to: Register, offset: i16, from: Register) {
        let code = STX | ATOMIC | Size::Double as u8;
        self.push(code, to, from, offset, ADD.into());
    }

    /// `R0 = helper(R1, ...)`.
    pub(super) fn call(&mut self, helper: Helper) {
        self.push(JMP | CALL, PLAIN, PLAIN, 0, helper as i32);
    }

    /// Continues at `label`.
    pub(super) fn jump(&mut self, label: Label) {
        self.jump_if(JUMP, R0, PLAIN, 0, label);
    }

    /// Continues at `label` if `left == constant`.
    pub(super) fn jump_if_equal(&mut self, left: Register, constant: i32, label: Label) {
        self.jump_if(JUMP_EQUAL, left, PLAIN, constant, label);
    }

    /// Continues at `label` if `left != constant`.
    pub(super) fn jump_if_not_equal(&mut self, left: Register, constant: i32, label: Label) {
        self.jump_if(JUMP_NOT_EQUAL, left, PLAIN, constant, label);
    }

    /// Continues at `label` if `left != right`.
    pub(super) fn jump_if_different(&mut self, left: Register, right: Register, label: Label) {
        self.jump_if(JUMP_NOT_EQUAL | FROM_REGISTER, left, right, 0, label);
    }

    fn jump_if(&mut self, how: u8, left: Register, right: Register, constant: i32, label: Label) {
        self.jumps.push((self.instructions.len(), label));
        self.push(JMP | how, left, right, 0, constant);
    }

    /// Ends the program with the result `R0`.
    pub(super) fn exit(&mut self) {
        self.push(JMP | EXIT, PLAIN, PLAIN, 0, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(instructions: &[Instruction]) -> Vec<String> {
        let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
        instructions.iter().map(|one| hex(one)).collect()
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn instructions_are_encoded_as_the_standard_says() {
        let mut program = Assembler::default();
        program.copy(R6, R1);
        program.set(R2, -2);
        program.set_word(R0, -1);
        program.add(R3, -80);
        program.and(R2, R3);
        program.and_word(R1, 0x17);
        program.shift_right(R1, 4);
        program.set_double(R4, 0x1122_3344_5566_7788);
        program.set_map(R1, 5);
        program.set_map_value(R1, 5);
        program.load(Size::Byte, R1, STACK, -80);
        program.store(Size::Double, STACK, -8, R2);
        program.store_constant(Size::Word, STACK, -4, 4);
        program.atomic_add(R0, 8, R1);
        program.call(Helper::LoadBytesRelative);
        program.exit();
        assert_eq!(
            text(&program.finish()),
            [
                "bf16000000000000",
                "b7020000feffffff",
                "b4000000ffffffff",
                "07030000b0ffffff",
                "5f32000000000000",
                "5401000017000000",
                "7701000004000000",
                "1804000088776655",
                "0000000044332211",
                "1811000005000000",
                "0000000000000000",
                "1821000005000000",
                "0000000000000000",
                "71a1b0ff00000000",
                "7b2af8ff00000000",
                "620afcff04000000",
                "db10080000000000",
                "8500000044000000",
                "9500000000000000",
            ]
        );
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn jumps_lead_to_their_labels() {
        let mut program = Assembler::default();
        let (before, after) = (program.label(), program.label());
        program.place(before);
        program.jump_if_equal(R1, 6, after);
        program.jump_if_not_equal(R1, 4, after);
        program.jump_if_different(R1, R2, before);
        program.place(after);
        program.jump(before);
        assert_eq!(
            text(&program.finish()),
            [
                "1501020006000000",
                "5501010004000000",
                "5d21fdff00000000",
                "0500fcff00000000",
            ]
        );
    }
}
