package inflate

// symbols decodes a deflate block's literals and matches until the block ends or the output is full.
func (z *Reader) symbols() error {
	for z.op < z.limit {
		if z.end-z.pos < fastInput {
			z.fill(fastInput)
		}
		if z.end-z.pos >= fastInput {
			done, err := z.fast()
			if done || err != nil {
				return err
			}
			continue
		}
		done, err := z.slow()
		if done || err != nil {
			return err
		}
	}
	return nil
}

// symbol looks up the next code and drops its bits, but not the extra ones after it. The entry's bits 0–5 are then how many
// extra bits there are. Code after code is tried with the bits there are, so that no byte is asked for which the stream may not have.
func (z *Reader) symbol(t []uint32, root, shortest uint) (uint32, error) {
	if err := z.need(shortest); err != nil {
		return 0, err
	}
	for {
		e := t[z.acc&(1<<root-1)]
		n := uint(0)
		if e&(pointer|literal) == pointer {
			n = root
			e = t[e>>16+uint32(z.acc>>root)&(1<<(e>>8&15)-1)]
		}
		code := uint(e>>8) & 15
		if e&exceptional != 0 {
			code = uint(e & dropMask) // an entry without a code has no code length
		}
		if n+code <= z.n {
			z.drop(n + code)
			return e - uint32(code), nil
		}
		if err := z.need(z.n + 1); err != nil {
			return 0, err
		}
	}
}

// slow decodes one literal or match, or the end of the block, near the end of the input.
func (z *Reader) slow() (done bool, err error) {
	e, err := z.symbol(z.lit[:], litBits, z.litMin)
	if err != nil {
		return false, err
	}
	if e&literal != 0 {
		z.out[z.op] = byte(e >> 16)
		z.op++
		return false, nil
	}
	if e&exceptional != 0 {
		if e&endOfBlock == 0 {
			return false, z.corrupt()
		}
		z.endOfBlock()
		return true, nil
	}
	v, err := z.take(uint(e & dropMask))
	if err != nil {
		return false, err
	}
	length := int(e>>16) + int(v)
	e, err = z.symbol(z.dist[:], distBits, z.distMin)
	if err != nil {
		return false, err
	}
	if e&exceptional != 0 {
		return false, z.corrupt()
	}
	if v, err = z.take(uint(e & dropMask)); err != nil {
		return false, err
	}
	distance := int(e>>16) + int(v)
	if distance > z.op-z.base {
		return false, z.corrupt()
	}
	for range length {
		z.out[z.op] = z.out[z.op-distance]
		z.op++
	}
	return false, nil
}
