package inflate

import "encoding/binary"

const (
	// fastInput is how much input fast wants to begin with: it loads 8 bytes, uses up 7 of them at most, and then a first turn
	// of its loop must be possible.
	fastInput = 7 + turnInput
	// turnInput is what one turn of the loop may load: 8 bytes after it has used up at most 7.
	turnInput = 7 + 8

	// wide is how much of a match is copied without looking at its length. It is less to copy 48 bytes for one than to have
	// the processor guess the length wrong.
	wide = 48
)

// fast decodes symbols while there is plenty of input and of room for output. It is one long function, and spells out the same
// few lines again and again, because nearly all of the package's time goes here: it is fast only as long as all state is in
// registers, and any call or closure would take it out of them.
//
// The design is libdeflate's. acc holds at least 56 valid bits at the top of a turn, so that two literals (11 bits each) and a
// length (20) are decoded without looking for more, or three literals; for a distance (28) a refill may have to come in between.
// A refill takes whole bytes by one load of 8, without branches. Bits of acc above the n that count are then not zero but
// what the next load will put there again. Only the low 6 bits of n count: whole entries are subtracted. The next table entry is
// loaded before the refill and the copy, which do not wait for it.
//
// There is no unsafe here and hardly a bounds check in the code made of it: arrays have constant sizes, posLimit and opLimit
// never pass what those allow, and the masks that seem to do nothing say what the compiler cannot know. Try
// go build -gcflags=-d=ssa/check_bce=1 after a change, and the benchmark.
func (z *Reader) fast() (done bool, err error) {
	in, out, t := z.in, z.out, &z.table
	pos, op, base := uint(z.pos), uint(z.op), uint(z.base)
	acc, n := z.acc, uint64(z.n)
	posLimit, opLimit := uint(z.end-turnInput), uint(z.limit)
	if posLimit > inputSize-turnInput || opLimit > blockEnd {
		return false, errRange
	}
	bad := false

	acc |= binary.LittleEndian.Uint64(in[pos:pos+8]) << (n & 63)
	pos += uint(7 - n>>3&7)
	n |= 56
	e := t.lit[acc&(1<<litBits-1)]
	for pos <= posLimit && op < opLimit {
		k := uint(0) // literals before the match
		if int32(e) < 0 {
			acc >>= e & dropMask
			n -= uint64(e)
			out[op] = byte(e >> 16)
			e = t.lit[acc&(1<<litBits-1)]
			k = 1
			if int32(e) < 0 {
				acc >>= e & dropMask
				n -= uint64(e)
				out[op+1] = byte(e >> 16)
				e = t.lit[acc&(1<<litBits-1)]
				k = 2
				if int32(e) < 0 {
					acc >>= e & dropMask
					n -= uint64(e)
					out[op+2] = byte(e >> 16)
					op += 3
					e = t.lit[acc&(1<<litBits-1)]
					acc |= binary.LittleEndian.Uint64(in[pos:pos+8]) << (n & 63)
					pos += uint(7 - n>>3&7)
					n |= 56
					continue
				}
			}
		}
		if e&exceptional != 0 {
			if e&pointer != 0 {
				acc >>= litBits
				n -= litBits
				e = t.lit[(uint64(e>>16)+acc&(1<<(e>>8&15)-1))&(litSize-1)]
				if int32(e) < 0 {
					acc >>= e & dropMask
					n -= uint64(e)
					out[op+k&3] = byte(e >> 16)
					op += k + 1
					e = t.lit[acc&(1<<litBits-1)]
					acc |= binary.LittleEndian.Uint64(in[pos:pos+8]) << (n & 63)
					pos += uint(7 - n>>3&7)
					n |= 56
					continue
				}
			}
			if e&exceptional != 0 {
				acc >>= e & dropMask
				n -= uint64(e)
				op += k
				done = e&endOfBlock != 0
				bad = !done
				break
			}
		}
		length := uint(e>>16) + uint((acc&(1<<(e&dropMask)-1))>>(e>>8&15))
		acc >>= e & dropMask
		n -= uint64(e)

		e = t.dist[acc&(1<<distBits-1)]
		q := uint(0) // bytes taken by a refill here
		if uint8(n) < 28+litBits {
			acc |= binary.LittleEndian.Uint64(in[pos:pos+8]) << (n & 63)
			q = uint(7 - n>>3&7)
			n |= 56
		}
		if e&exceptional != 0 {
			if e&pointer != 0 {
				acc >>= distBits
				n -= distBits
				e = t.dist[(uint64(e>>16)+acc&(1<<(e>>8&15)-1))&(distSize-1)]
			}
			if e&exceptional != 0 {
				acc >>= e & dropMask
				n -= uint64(e)
				pos += q
				op += k
				bad = true
				break
			}
		}
		distance := uint(e>>16) + uint((acc&(1<<(e&dropMask)-1))>>(e>>8&15))
		acc >>= e & dropMask
		n -= uint64(e)

		e = t.lit[acc&(1<<litBits-1)]
		acc |= binary.LittleEndian.Uint64(in[pos+q&7:pos+q&7+8]) << (n & 63)
		pos += q + uint(7-n>>3&7)
		n |= 56
		to := op + k&3
		from := to - distance
		if distance > to-base {
			op = to
			bad = true
			break
		}
		op = to + length
		if distance < 16 || length > wide || from > blockEnd {
			match(out, to, distance, length)
			continue
		}
		// In steps, as the second may copy what the first wrote.
		s, d := (*[wide]byte)(out[from:]), (*[wide]byte)(out[to:])
		*(*[16]byte)(d[:]) = *(*[16]byte)(s[:])
		*(*[16]byte)(d[16:]) = *(*[16]byte)(s[16:])
		*(*[16]byte)(d[32:]) = *(*[16]byte)(s[32:])
	}

	// Put whole bytes back and clear the bits that do not count.
	pos -= uint(n >> 3 & 7)
	n &= 7
	z.pos, z.op, z.n, z.acc = int(pos), int(op), uint(n), acc&(1<<n-1)
	if bad {
		return false, z.corrupt()
	}
	if done {
		z.endOfBlock()
	}
	return done, nil
}

// match writes any match, and maybe up to 15 bytes more.
func match(out *memory, to, distance, length uint) {
	end := to + length
	if distance >= 16 {
		for ; to < end; to += 16 {
			*(*[16]byte)(out[to:]) = *(*[16]byte)(out[to-distance:])
		}
		return
	}
	if distance >= 8 {
		for ; to < end; to += 8 {
			*(*[8]byte)(out[to:]) = *(*[8]byte)(out[to-distance:])
		}
		return
	}
	// The same few bytes over and over: as many of them as go into a word.
	word := binary.LittleEndian.Uint64(out[to-distance:])
	width := distance * 8
	word &= 1<<width - 1
	for ; width < 64; width *= 2 {
		word |= word << width
	}
	step := 8 / distance * distance
	for ; to < end; to += step {
		binary.LittleEndian.PutUint64(out[to:], word)
	}
}
