// How many messages a gRPC body holds (the length-prefixed messages of PROTOCOL-HTTP2).

/** Counts the messages in a gRPC body by their lengths. */
export class MessageCount {
  count = 0
  #left = 0
  #head = 0
  #length = 0

  push(chunk: Buffer): void {
    let at = 0
    while (at < chunk.length) {
      if (this.#left > 0) {
        const step = Math.min(this.#left, chunk.length - at)
        this.#left -= step
        at += step
        continue
      }
      // A byte of flags, then four of length.
      if (this.#head > 0) this.#length = this.#length * 256 + chunk[at]!
      this.#head++
      at++
      if (this.#head < 5) continue
      this.count++
      this.#left = this.#length
      this.#head = 0
      this.#length = 0
    }
  }
}
