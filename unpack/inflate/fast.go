package inflate

// fastInput is how much input a turn of the fast loop may load: three refills, of which each uses up 7 bytes at most and loads 8.
const fastInput = 32

// fast decodes a deflate block while there is plenty of input and of room for output.
func (z *Reader) fast() (done bool, err error) {
	in, out := z.in[:z.end], z.out
	t := &z.table
	pos, op := z.pos, z.op
	acc, n := z.acc, uint64(z.n)
	posLimit, opLimit := z.end-fastInput, z.limit

	for pos <= posLimit && op < opLimit {
		acc |= load64(in, pos) << (n & 63)
		pos += int((63 - n) >> 3)
		n |= 56
		e := t.lit[acc&(1<<litBits-1)]
		if int32(e) < 0 {
			acc >>= e & 63
			n -= uint64(e & dropMask)
			store8(out, op, byte(e>>16))
			op++
			e = t.lit[acc&(1<<litBits-1)]
			if int32(e) < 0 {
				acc >>= e & 63
				n -= uint64(e & dropMask)
				store8(out, op, byte(e>>16))
				op++
				e = t.lit[acc&(1<<litBits-1)]
				if int32(e) < 0 {
					acc >>= e & 63
					n -= uint64(e & dropMask)
					store8(out, op, byte(e>>16))
					op++
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
					acc >>= e & 63
					n -= uint64(e & dropMask)
					store8(out, op, byte(e>>16))
					op++
					continue
				}
			}
			if e&exceptional != 0 {
				acc >>= e & 63
				n -= uint64(e & dropMask)
				if e&endOfBlock == 0 {
					err = z.corrupt()
				} else {
					done = true
				}
				break
			}
		}
		length := int(e>>16) + int((acc&(1<<(e&63)-1))>>(e>>8&15))
		acc >>= e & 63
		n -= uint64(e & dropMask)
		acc |= load64(in, pos) << (n & 63)
		pos += int((63 - n) >> 3)
		n |= 56
		e = t.dist[acc&(1<<distBits-1)]
		if e&exceptional != 0 {
			if e&pointer != 0 {
				acc >>= distBits
				n -= distBits
				e = t.dist[(uint64(e>>16)+acc&(1<<(e>>8&15)-1))&(distSize-1)]
			}
			if e&exceptional != 0 {
				err = z.corrupt()
				break
			}
		}
		distance := int(e>>16) + int((acc&(1<<(e&63)-1))>>(e>>8&15))
		acc >>= e & 63
		n -= uint64(e & dropMask)
		if distance > op-z.base {
			err = z.corrupt()
			break
		}
		from, to := op-distance, op
		op += length
		if distance >= 16 {
			copy16(out, to, from)
			for i := 16; i < length; i += 16 {
				copy16(out, to+i, from+i)
			}
		} else {
			overlap(out, to, distance, length)
		}
	}
	// Put whole bytes back and clear the bits that are not accounted for.
	pos -= int(n >> 3)
	n &= 7
	z.pos, z.op, z.n, z.acc = pos, op, uint(n), acc&(1<<n-1)
	if done {
		z.endOfBlock()
	}
	return done, err
}

// overlap writes a match that reaches into itself: the last `distance` bytes repeated. It may write 7 bytes more.
func overlap(out []byte, to, distance, length int) {
	end := to + length
	v := load64(out, to-distance)
	if distance >= 8 {
		for ; to < end; to += 8 {
			store64(out, to, load64(out, to-distance))
		}
		return
	}
	width := uint(distance) * 8
	v &= 1<<width - 1
	step := distance
	for w := width; w < 64; w *= 2 {
		v |= v << w
	}
	step *= 8 / distance
	for ; to < end; to += step {
		store64(out, to, v)
	}
}
