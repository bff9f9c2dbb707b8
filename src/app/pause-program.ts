// The program of a pod's sandbox: a static ELF file of some hundred bytes that sleeps for ever.

/** pause(2) in a loop, as machine code. */
const CODE: Record<string, { machine: number; code: number[] }> = {
  // mov eax, 34; syscall; jmp back
  x64: { machine: 0x3e, code: [0xb8, 0x22, 0x00, 0x00, 0x00, 0x0f, 0x05, 0xeb, 0xf7] },
  // mov x0,#0; mov x1,#0; mov x2,#0; mov x3,#0; mov x8,#73 (ppoll); svc #0; b back
  arm64: {
    machine: 0xb7,
    code: [
      0x00, 0x00, 0x80, 0xd2, 0x01, 0x00, 0x80, 0xd2, 0x02, 0x00, 0x80, 0xd2, 0x03, 0x00, 0x80, 0xd2, 0x28, 0x09, 0x80,
      0xd2, 0x01, 0x00, 0x00, 0xd4, 0xfa, 0xff, 0xff, 0x17,
    ],
  },
}

const BASE = 0x400000
const HEAD = 64
const PROGRAM_HEAD = 56

/** The ELF file for a machine ("x64" or "arm64"; elf(5)). */
export function pauseProgram(arch: string): Buffer {
  const { machine, code } = CODE[arch] ?? CODE.x64!
  const size = HEAD + PROGRAM_HEAD + code.length
  const file = Buffer.alloc(size)
  file.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1], 0)
  file.writeUInt16LE(2, 16)
  file.writeUInt16LE(machine, 18)
  file.writeUInt32LE(1, 20)
  file.writeBigUInt64LE(BigInt(BASE + HEAD + PROGRAM_HEAD), 24)
  file.writeBigUInt64LE(BigInt(HEAD), 32)
  file.writeUInt16LE(HEAD, 52)
  file.writeUInt16LE(PROGRAM_HEAD, 54)
  file.writeUInt16LE(1, 56)
  file.writeUInt32LE(1, HEAD)
  file.writeUInt32LE(5, HEAD + 4)
  file.writeBigUInt64LE(BigInt(BASE), HEAD + 16)
  file.writeBigUInt64LE(BigInt(BASE), HEAD + 24)
  file.writeBigUInt64LE(BigInt(size), HEAD + 32)
  file.writeBigUInt64LE(BigInt(size), HEAD + 40)
  file.writeBigUInt64LE(0x1000n, HEAD + 48)
  file.set(code, HEAD + PROGRAM_HEAD)
  return file
}
