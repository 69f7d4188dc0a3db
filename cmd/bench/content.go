package main

import (
	"io"
	"math/rand/v2"
)

// content makes file contents that compress about as programs and texts do. Files are put together from pieces of two
// large stocks; a compressor of 32 kB memory hardly ever meets a piece again.
type content struct {
	r            *rand.Rand
	text, binary []byte
}

const (
	stock = 4 << 20
	piece = 2048
)

func newContent(seed uint64) *content {
	c := &content{r: rand.New(rand.NewPCG(seed, 11))}
	c.text, c.binary = c.makeText(), c.makeBinary()
	return c
}

// makeText strings words together, the frequent ones being frequent.
func (c *content) makeText() []byte {
	words := make([]string, 8192)
	for i := range words {
		words[i] = word(c.r) + " "
	}
	var text []byte
	for len(text) < stock {
		x := c.r.Float64()
		text = append(text, words[int(x*x*x*float64(len(words)))]...)
	}
	return text[:stock]
}

// makeBinary mixes what machine code is made of: patterns that come again and again with other operands, and stretches
// of zeros.
func (c *content) makeBinary() []byte {
	patterns := make([]uint64, 512)
	for i := range patterns {
		patterns[i] = c.r.Uint64()
	}
	data := make([]byte, 0, stock+64)
	for len(data) < stock {
		switch p := patterns[c.r.IntN(len(patterns))]; c.r.IntN(8) {
		case 0:
			data = append(data, make([]byte, c.r.IntN(48))...)
		case 1, 2: // operands
			data = appendLow(data, c.r.Uint64(), 3)
		default:
			data = appendLow(data, p, 2+int(p>>61))
		}
	}
	return data[:stock]
}

func appendLow(data []byte, x uint64, n int) []byte {
	for range min(n, 8) {
		data = append(data, byte(x))
		x >>= 8
	}
	return data
}

// write writes size bytes.
func (c *content) write(w io.Writer, size int64, textual bool) error {
	from := c.binary
	if textual {
		from = c.text
	}
	for size > 0 {
		n := min(size, piece)
		at := c.r.IntN(stock - piece)
		if _, err := w.Write(from[at : at+int(n)]); err != nil {
			return err
		}
		size -= n
	}
	return nil
}
