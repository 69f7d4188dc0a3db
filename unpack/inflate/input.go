package inflate

import (
	"compress/flate"
	"io"
)

// input is the compressed stream, as bytes and as bits. The n bits in acc, and no more of them are set, are the last that were
// taken from in[:pos].
type input struct {
	r       io.Reader
	readErr error // of r, once in[pos:end] is used up

	in       *[inputSize]byte
	inRoom   int // how much of in to use
	pos, end int
	before   int64 // bytes of the stream before in[0]

	acc uint64
	n   uint
}

// fill gets at least want bytes into in[pos:end], unless the stream ends before.
func (z *input) fill(want int) {
	if z.end-z.pos >= want || z.readErr != nil {
		return
	}
	from := max(z.pos-8, 0) // acc may be put back
	z.before += int64(from)
	z.end = copy(z.in[:], z.in[from:z.end])
	z.pos -= from
	for idle := 0; z.end-z.pos < want && z.readErr == nil; idle++ {
		n, err := z.r.Read(z.in[z.end:z.inRoom])
		if n > 0 {
			z.end += n
			idle = 0
		}
		if err == nil && idle == 100 {
			err = io.ErrNoProgress
		}
		z.readErr = err
	}
}

// need makes acc hold n ≤ 56 bits or says why it cannot.
func (z *input) need(n uint) error {
	for z.n < n {
		if z.pos == z.end {
			if z.fill(1); z.pos == z.end {
				return z.ended()
			}
		}
		z.acc |= uint64(z.in[z.pos]) << z.n
		z.pos++
		z.n += 8
	}
	return nil
}

// ended is the error for a stream that ends too early.
func (z *input) ended() error {
	if z.readErr == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return z.readErr
}

// take drops the next n ≤ 56 bits and gives their value.
func (z *input) take(n uint) (uint, error) {
	if err := z.need(n); err != nil {
		return 0, err
	}
	v := uint(z.acc & (1<<n - 1))
	z.drop(n)
	return v, nil
}

func (z *input) drop(n uint) {
	z.acc >>= n
	z.n -= n
}

// align drops what is left of a byte and puts whole bytes back: in[pos:] is what follows.
func (z *input) align() {
	z.pos -= int(z.n / 8)
	z.acc, z.n = 0, 0
}

// full reads exactly len(p) bytes of an aligned stream.
func (z *input) full(p []byte) error {
	for len(p) > 0 {
		if z.pos == z.end {
			if z.fill(1); z.pos == z.end {
				return z.ended()
			}
		}
		n := copy(p, z.in[z.pos:z.end])
		z.pos += n
		p = p[n:]
	}
	return nil
}

// offset is how many bytes of the stream have been used, one that is partly used included.
func (z *input) offset() int64 { return z.before + int64(z.pos) - int64(z.n/8) }

func (z *input) corrupt() error { return flate.CorruptInputError(z.offset()) }
