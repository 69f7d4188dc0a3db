package inflate

import (
	"bytes"
	"compress/flate"
	"hash/crc32"
	"io"
	"math/bits"
	"math/rand/v2"
	"slices"
	"testing"
)

func crc(p []byte) uint32 { return crc32.ChecksumIEEE(p) }

// bitWriter writes a deflate stream bit by bit.
type bitWriter struct {
	p []byte
	n uint
}

func (w *bitWriter) write(v uint32, n int) {
	for i := range n {
		if w.n%8 == 0 {
			w.p = append(w.p, 0)
		}
		w.p[w.n/8] |= byte(v>>i&1) << (w.n % 8)
		w.n++
	}
}

// stored writes p as the stream's first block.
func (w *bitWriter) stored(p []byte) {
	w.write(0, 8)
	w.write(uint32(len(p))|^uint32(len(p))<<16, 32)
	w.p = append(w.p, p...)
	w.n += uint(len(p)) * 8
}

// code is a Huffman code: codes[i] is bit-reversed, of lengths[i] bits.
type code struct {
	lengths []uint8
	codes   []uint32
}

// randomCode is a complete code of up to size symbols, those given among them. Real encoders make codes after frequencies; this
// one has the shapes they never make: one long chain, second levels of every size, all symbols alike.
func randomCode(r *rand.Rand, size int, longest int, among ...int) code {
	used := max(2, len(among)+r.IntN(size-len(among)+1))
	leaves := []int{0}
	for len(leaves) < used {
		i := r.IntN(len(leaves))
		if r.IntN(3) == 0 {
			i = len(leaves) - 1
		}
		if leaves[i] == longest {
			if i = r.IntN(len(leaves)); leaves[i] == longest {
				continue
			}
		}
		leaves[i]++
		leaves = append(leaves, leaves[i])
	}
	r.Shuffle(len(leaves), func(i, j int) { leaves[i], leaves[j] = leaves[j], leaves[i] })
	c := code{make([]uint8, size), make([]uint32, size)}
	symbols := append([]int{}, among...)
	for _, s := range r.Perm(size) {
		if !slices.Contains(among, s) {
			symbols = append(symbols, s)
		}
	}
	for i, n := range leaves {
		c.lengths[symbols[i]] = uint8(n)
	}
	c.assign()
	return c
}

// assign gives the codes that RFC 1951, section 3.2.2, says.
func (c *code) assign() {
	next := uint32(0)
	for n := 1; n <= maxCode; n++ {
		next <<= 1
		for s, l := range c.lengths {
			if int(l) == n {
				c.codes[s] = bits.Reverse32(next) >> (32 - n)
				next++
			}
		}
	}
}

func (c *code) put(w *bitWriter, s int) { w.write(c.codes[s], int(c.lengths[s])) }

// any is one of the symbols that have a code, or -1.
func (c *code) any(r *rand.Rand, from int) int {
	for range 1000 {
		if s := from + r.IntN(len(c.lengths)-from); c.lengths[s] > 0 {
			return s
		}
	}
	return -1
}

// randomStream is a deflate stream of blocks with random codes and random symbols; now and then it is wrong somewhere.
func randomStream(r *rand.Rand) []byte {
	var w bitWriter
	blocks := 1 + r.IntN(4)
	total := 0
	if r.IntN(2) == 0 { // a stored block first, for distances to reach far
		total = window + r.IntN(5000)
		p := make([]byte, total)
		for i := range p {
			p[i] = byte(r.Uint32())
		}
		w.stored(p)
	}
	for b := range blocks {
		last := uint32(0)
		if b == blocks-1 {
			last = 1
		}
		w.write(last|2<<1, 3)
		nlit, ndist := 258+r.IntN(29), 2+r.IntN(29)
		lit := randomCode(r, nlit, 9+r.IntN(7), 256, r.IntN(256))
		dist := randomCode(r, ndist, 5+r.IntN(11))
		switch r.IntN(10) { // codes that are not complete but allowed
		case 0:
			dist = code{make([]uint8, ndist), make([]uint32, ndist)}
		case 1:
			dist = code{make([]uint8, ndist), make([]uint32, ndist)}
			dist.lengths[r.IntN(ndist)] = 1
			dist.assign()
		case 2:
			lit = code{make([]uint8, nlit), make([]uint32, nlit)}
			lit.lengths[256] = 1
			lit.assign()
		}
		w.codes(lit, dist)
		for range r.IntN(3000) {
			s := lit.any(r, 0)
			if r.IntN(4) == 0 {
				s = lit.any(r, 256)
			}
			if s < 0 || s == 256 || s > 256 && total == 0 {
				continue
			}
			if s < 256 {
				lit.put(&w, s)
				total++
				continue
			}
			d := dist.any(r, 0)
			if d < 0 { // a length and no distance is wrong; seldom here, as nothing after it would be read
				if r.IntN(1000) == 0 {
					lit.put(&w, s)
				}
				continue
			}
			extra := max((d-2)/2, 0)
			if base := distanceBase(d); base > total && r.IntN(2000) != 0 {
				continue
			}
			lit.put(&w, s)
			x := 0
			if s >= 265 && s < 285 {
				x = (s - 261) / 4
			}
			w.write(r.Uint32(), x)
			dist.put(&w, d)
			v := uint32(0)
			if distanceBase(d)+1<<extra <= total {
				v = r.Uint32()
			}
			w.write(v, extra)
			total += 3
		}
		lit.put(&w, 256)
	}
	return w.p
}

func distanceBase(d int) int {
	if d < 2 {
		return d + 1
	}
	return (2|d&1)<<(d/2-1) + 1
}

// codes writes the two codes, every length spelled out by 4 bits: lengths 0–15 have one such code each.
func (w *bitWriter) codes(lit, dist code) {
	w.write(uint32(len(lit.lengths)-257), 5)
	w.write(uint32(len(dist.lengths)-1), 5)
	w.write(19-4, 4)
	pre := code{make([]uint8, 19), make([]uint32, 19)}
	for i := range 16 {
		pre.lengths[i] = 4
	}
	pre.assign()
	for _, s := range []int{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15} {
		w.write(uint32(pre.lengths[s]), 3)
	}
	for _, c := range []code{lit, dist} {
		for _, n := range c.lengths {
			pre.put(w, int(n))
		}
	}
}

// checkDeflate wraps a deflate stream so that it is right if the standard library takes it.
func checkDeflate(t testing.TB, raw []byte, in, block, chunk int) (accepted bool) {
	t.Helper()
	r := bytes.NewReader(raw)
	out, err := io.ReadAll(flate.NewReader(r))
	if err != nil {
		check(t, member(raw, out), in, block, chunk)
		return false
	}
	used := len(raw) - r.Len()
	stream := member(raw[:used], out)
	check(t, stream, in, block, chunk)
	check(t, append(stream, raw[used:]...), in, block, chunk)
	return true
}

func TestRandomCodes(t *testing.T) {
	accepted := 0
	const n = 400
	for seed := range uint64(n) {
		raw := randomStream(rand.New(rand.NewPCG(seed, 1)))
		s := sizes[seed%uint64(len(sizes))]
		if checkDeflate(t, raw, s.in, s.block, s.chunk) {
			accepted++
		}
		for cut := range min(len(raw), 4) {
			check(t, member(raw[:len(raw)-1-cut], nil), s.in, s.block, s.chunk)
		}
	}
	if accepted < n/2 || accepted == n {
		t.Errorf("%d of %d streams were right: some should not be", accepted, n)
	}
}

// checkOffset: an error is found by the last byte it says was used, not earlier. The fast loop finds it first, then the slow path.
// Only for codes whose end of block is not longer than others: else even the slow path may want more.
func checkOffset(t testing.TB, stream []byte) {
	t.Helper()
	read := func(p []byte) error {
		_, err := recycle(bytes.NewReader(p), inputSize, blockSize).WriteTo(io.Discard)
		return err
	}
	fast := read(append(bytes.Clone(stream), make([]byte, 100)...))
	at, ok := fast.(flate.CorruptInputError)
	if !ok {
		t.Fatal(fast)
	}
	if err := read(stream[:at]); err != fast {
		t.Fatalf("%v, but cut there %v", fast, err)
	}
	if err := read(stream[:at-1]); err != io.ErrUnexpectedEOF {
		t.Fatalf("%v, but cut before %v", fast, err)
	}
}

// fixedCode are the codes of RFC 1951, section 3.2.6.
func fixedCode() (lit, dist code) {
	lit, dist = code{make([]uint8, numLit), make([]uint32, numLit)}, code{make([]uint8, numDist), make([]uint32, numDist)}
	for i := range lit.lengths {
		lit.lengths[i] = []uint8{8, 9, 7, 8}[min(i/144, 1)+i/256+i/280]
	}
	for i := range dist.lengths {
		dist.lengths[i] = 5
	}
	lit.assign()
	dist.assign()
	return lit, dist
}

// Every symbol of the fixed codes, those that are reserved among them, with all kinds of extra bits.
func TestFixed(t *testing.T) {
	lit, dist := fixedCode()
	history := noise(rand.New(rand.NewPCG(9, 9)), window)
	for s := range numLit {
		for d := range numDist {
			if s < 256 && d > 0 {
				break
			}
			var w bitWriter
			w.stored(history[:min(window, distanceBase(d+1))])
			w.write(1|1<<1, 3)
			for _, bits := range []uint32{0, 0xffffffff, 0x55555555} {
				lit.put(&w, 250) // of 9 bits: enough for a refill to come before the distance
				lit.put(&w, 251)
				lit.put(&w, s)
				if s <= 256 {
					continue
				}
				if s >= 265 && s < 285 {
					w.write(bits, (s-261)/4)
				}
				dist.put(&w, d)
				w.write(bits, max((d-2)/2, 0))
			}
			lit.put(&w, 256)
			wrong := s > 285 || s > 256 && d > 29
			if checkDeflate(t, w.p, inputSize, blockSize, inputSize) == wrong {
				t.Fatalf("symbols %d and %d: accepted %v", s, d, !wrong)
			}
			w.p = append(w.p, make([]byte, 100)...) // so that the fast loop reads it
			checkDeflate(t, w.p, inputSize, blockSize, inputSize)
			if wrong {
				checkOffset(t, member(w.p, nil))
			}
		}
	}
}

// A length, and no distance: nothing has a code there. compress/flate says so without another bit, and so do we.
func TestNoDistance(t *testing.T) {
	for pad := range 8 {
		for _, single := range []int{-1, 0, 5} {
			lit := code{make([]uint8, 258), make([]uint32, 258)}
			lit.lengths['a'], lit.lengths[256], lit.lengths[257] = 1, 2, 2
			lit.assign()
			dist := code{make([]uint8, 6), make([]uint32, 6)}
			if single >= 0 {
				dist.lengths[single] = 1
			}
			for after := range 10 {
				var w bitWriter
				w.stored([]byte("some history"))
				w.write(1|2<<1, 3)
				w.codes(lit, dist)
				for range pad { // until the length ends with a byte
					lit.put(&w, 'a')
				}
				lit.put(&w, 257)
				w.write(0x3ff, after)
				for n := range 5 {
					check(t, member(w.p, nil)[:10+len(w.p)-n], inputSize, blockSize, inputSize)
				}
				checkDeflate(t, append(w.p, make([]byte, 100)...), inputSize, blockSize, inputSize)
			}
		}
	}
}

// The longest matches end everywhere about the end of a block, and are never written beyond its memory.
func TestLimits(t *testing.T) {
	lit, dist := fixedCode()
	for _, distance := range []int{0, 1, 2, 3, 4, 5, 6, 8, 9, 12} { // symbols
		for first := 0; first < overshoot; first += 1 + distance {
			var w bitWriter
			w.write(1|1<<1, 3)
			for range 64 + first {
				lit.put(&w, 'a'+first%7)
			}
			for n := 0; n < blockSize+2*overshoot; n += overshoot {
				lit.put(&w, 'x')
				lit.put(&w, 'y')
				lit.put(&w, 285)
				dist.put(&w, distance)
				w.write(0, max((distance-2)/2, 0))
			}
			lit.put(&w, 256)
			stream := append(member(w.p, nil), make([]byte, 100)...)
			z := recycle(bytes.NewReader(stream), inputSize, blockSize)
			p, err := z.Next()
			if err != nil || len(p) > blockSize || len(p) < blockSize-overshoot {
				t.Fatal(len(p), err)
			}
			if first%50 == 0 {
				check(t, stream, inputSize, blockSize, inputSize)
			}
		}
	}
}
