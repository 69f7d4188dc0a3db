// Package inflate decompresses gzip about twice as fast as the libraries at hand: four fifths of what unpacking an image costs.
//
// It takes and refuses exactly what compress/gzip does (and gives that package's errors, and compress/flate's), with two
// differences that layers need: zeros after the last member are padding, and an empty stream is an error. Output is only to be
// trusted once io.EOF has come, as the checksum stands at the end. Memory is a fixed amount per Reader and Block whatever the
// stream says.
package inflate

import (
	"errors"
	"hash/crc32"
	"io"
)

const (
	window    = 32 << 10  // how far back a match may reach
	blockSize = 1 << 20   // the most that Fill gives at once
	inputSize = 128 << 10 // what is read at once

	overshoot = 2 + 258 // what may be decoded at once: two literals and a match
	slack     = 64      // how far the fast loop, which copies whole words, may write beyond what it decodes
)

var errTrailing = errors.New("gzip: data after the end of the stream")

// A Block is memory to decompress into. The zero value is ready to use.
type Block struct {
	buf []byte // window, blockSize, slack
}

// A Reader decompresses a stream of gzip members.
type Reader struct {
	input
	table

	state  state
	last   bool // the deflate block being read is the member's last one
	stored int  // bytes still to come of a stored block

	// Decompressed bytes go to out[op:limit] and may pass limit by less than overshoot. Matches reach back to out[base].
	out       []byte
	op, limit int
	base      int
	size      int

	history [window]byte // the end of what was decompressed before this block; only its last held bytes mean something
	held    int

	summed  int // out up to here is in sum and length
	sum     uint32
	length  uint32
	err     error
	own     Block
	rest    []byte // of own, for Read
	lengths [numLit + numDist]uint8
	precode [1 << preBits]uint32
	meaning values
}

// table is what a deflate block's codes mean.
type table struct {
	lit   [litSize]uint32
	dist  [distSize]uint32
	fixed bool // the tables are those of fixed codes

	// A code is looked up only once that many bits are there: as compress/flate does, whose output before an unexpected end is thus ours.
	litMin, distMin uint
}

// NewReader returns a Reader of r. It may read r beyond the end of the gzip stream.
func NewReader(r io.Reader) *Reader { return newReader(r, inputSize, blockSize) }

func newReader(r io.Reader, in, block int) *Reader {
	z := &Reader{size: block, input: input{r: r, in: make([]byte, in)}}
	z.meaning.init()
	return z
}

// Fill decompresses the next part of the stream, at most 1 MiB, into b and returns it; it is never empty when err is nil. It
// stays valid until b is filled again: several blocks let the next be made while one is in use. What was right comes before an error.
func (z *Reader) Fill(b *Block) ([]byte, error) {
	if z.err != nil {
		return nil, z.err
	}
	if b.buf == nil {
		b.buf = make([]byte, window+z.size+slack)
	}
	z.out = b.buf
	copy(z.out[window-z.held:window], z.history[window-z.held:])
	z.op, z.summed = window, window
	z.base = window - z.held
	z.limit = window + z.size - overshoot
	z.err = z.decode()
	z.checksum()
	z.held = min(window, z.op-z.base)
	copy(z.history[window-z.held:], z.out[z.op-z.held:z.op])
	p := z.out[window:z.op]
	z.out = nil
	if len(p) == 0 {
		return nil, z.err
	}
	return p, nil
}

// Next is Fill with a block of the Reader's own: what it returns is valid until the next call.
func (z *Reader) Next() ([]byte, error) {
	if len(z.rest) > 0 { // Read has begun it
		p := z.rest
		z.rest = nil
		return p, nil
	}
	return z.Fill(&z.own)
}

func (z *Reader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if len(z.rest) == 0 {
		var err error
		if z.rest, err = z.Fill(&z.own); err != nil {
			return 0, err
		}
	}
	n := copy(p, z.rest)
	z.rest = z.rest[n:]
	return n, nil
}

func (z *Reader) WriteTo(w io.Writer) (int64, error) {
	var total int64
	for {
		p, err := z.Next()
		if err == io.EOF {
			return total, nil
		}
		if err != nil {
			return total, err
		}
		n, err := w.Write(p)
		total += int64(n)
		if err == nil && n < len(p) {
			err = io.ErrShortWrite
		}
		if err != nil {
			return total, err
		}
	}
}

// checksum takes in what has been decompressed of the member.
func (z *Reader) checksum() {
	p := z.out[z.summed:z.op]
	z.sum = crc32.Update(z.sum, crc32.IEEETable, p)
	z.length += uint32(len(p))
	z.summed = z.op
}

// state is what comes next in the stream.
type state int

const (
	memberHeader state = iota
	blockHeader
	storedBytes
	symbols
	memberTrailer
	nextMember
)

// decode goes on until the block is full or there is an error.
func (z *Reader) decode() error {
	for z.op < z.limit {
		var err error
		switch z.state {
		case memberHeader:
			err = z.memberHeader()
		case blockHeader:
			err = z.blockHeader()
		case storedBytes:
			err = z.storedBytes()
		case symbols:
			err = z.symbols()
		case memberTrailer:
			err = z.memberTrailer()
		case nextMember:
			err = z.nextMember()
		}
		if err != nil {
			return err
		}
	}
	return nil
}
