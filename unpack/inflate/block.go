package inflate

// blockHeader reads RFC 1951's block header, section 3.2.3.
func (z *Reader) blockHeader() error {
	v, err := z.take(3)
	if err != nil {
		return err
	}
	z.last = v&1 == 1
	switch v >> 1 {
	case 0:
		return z.storedHeader()
	case 1:
		z.fixedCodes()
	case 2:
		if err := z.dynamicCodes(); err != nil {
			return err
		}
	default:
		return z.corrupt()
	}
	z.state = symbols
	return nil
}

// endOfBlock is called where a deflate block ends.
func (z *Reader) endOfBlock() {
	z.state = blockHeader
	if z.last {
		z.state = memberTrailer
	}
}

func (z *Reader) storedHeader() error {
	z.align()
	var p [4]byte
	if err := z.full(p[:]); err != nil {
		return err
	}
	n := int(p[0]) | int(p[1])<<8
	if n^0xffff != int(p[2])|int(p[3])<<8 {
		return z.corrupt()
	}
	z.stored = n
	z.state = storedBytes
	return nil
}

func (z *Reader) storedBytes() error {
	for z.stored > 0 && z.op < z.limit {
		if z.pos == z.end {
			if z.fill(1); z.pos == z.end {
				return z.ended()
			}
		}
		n := copy(z.out[z.op:z.limit], z.in[z.pos:min(z.end, z.pos+z.stored)])
		z.op += n
		z.pos += n
		z.stored -= n
	}
	if z.stored == 0 {
		z.endOfBlock()
	}
	return nil
}

func (z *Reader) fixedCodes() {
	if z.fixed {
		return
	}
	l := &z.lengths
	for i := range numLit {
		switch {
		case i < 144:
			l[i] = 8
		case i < 256:
			l[i] = 9
		case i < 280:
			l[i] = 7
		default:
			l[i] = 8
		}
	}
	for i := range numDist {
		l[numLit+i] = 5
	}
	build(z.lit[:], litBits, l[:numLit], z.values.lit[:])
	build(z.dist[:], distBits, l[numLit:], z.values.dist[:])
	z.litMin, z.distMin = 7, 5
	z.fixed = true
}

// dynamicCodes reads the codes that come with a block, RFC 1951 section 3.2.7.
func (z *Reader) dynamicCodes() error {
	v, err := z.take(14)
	if err != nil {
		return err
	}
	nlit, ndist, npre := int(v&31)+257, int(v>>5&31)+1, int(v>>10)+4
	if nlit > 286 || ndist > 30 {
		return z.corrupt()
	}
	z.fixed = false
	var lengths [numPre]uint8
	order := [numPre]uint8{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}
	for _, i := range order[:npre] {
		v, err := z.take(3)
		if err != nil {
			return err
		}
		lengths[i] = uint8(v)
	}
	shortest, ok := build(z.precode[:], preBits, lengths[:], z.values.pre[:])
	if !ok {
		return z.corrupt()
	}
	if err := z.codeLengths(nlit+ndist, uint(shortest)); err != nil {
		return err
	}
	lit, dist := z.lengths[:nlit], z.lengths[nlit:nlit+ndist]
	shortest, ok = build(z.lit[:], litBits, lit, z.values.lit[:])
	if !ok {
		return z.corrupt()
	}
	// No block ends without an end-of-block code, so that many bits must be there still.
	z.litMin = max(uint(shortest), uint(lit[256]))
	shortest, ok = build(z.dist[:], distBits, dist, z.values.dist[:])
	if !ok {
		return z.corrupt()
	}
	z.distMin = uint(shortest)
	return nil
}

// codeLengths reads n lengths of codes into z.lengths.
func (z *Reader) codeLengths(n int, shortest uint) error {
	for i := 0; i < n; {
		e, err := z.symbol(z.precode[:], preBits, shortest)
		if err != nil {
			return err
		}
		if e&exceptional != 0 {
			return z.corrupt()
		}
		symbol := e >> 16
		if symbol < 16 {
			z.lengths[i] = uint8(symbol)
			i++
			continue
		}
		repeat, extra, length := 3, uint(2), uint8(0)
		switch symbol {
		case 16:
			if i == 0 {
				return z.corrupt()
			}
			length = z.lengths[i-1]
		case 17:
			extra = 3
		default:
			repeat, extra = 11, 7
		}
		v, err := z.take(extra)
		if err != nil {
			return err
		}
		repeat += int(v)
		if i+repeat > n {
			return z.corrupt()
		}
		for range repeat {
			z.lengths[i] = length
			i++
		}
	}
	return nil
}
