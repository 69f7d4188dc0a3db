package unpack

import (
	"context"
	"io"
)

// Blocks read ahead: large, so that two goroutines meet seldom; few, so that a layer costs 4 MiB of memory whatever is in it.
const (
	aheadBlock  = 1 << 20
	aheadBlocks = 4
)

// ahead reads a stream in its own goroutine, so that decompressing and writing to disk overlap.
type ahead struct {
	ctx  context.Context
	full chan []byte // closed at the end of the stream, err then being set
	free chan []byte
	quit chan struct{}
	done chan struct{}
	err  error

	block, rest []byte // the block being read from, and what is left of it
}

func readAhead(ctx context.Context, r io.Reader) *ahead {
	a := &ahead{
		ctx:  ctx,
		full: make(chan []byte, aheadBlocks),
		free: make(chan []byte, aheadBlocks),
		quit: make(chan struct{}),
		done: make(chan struct{}),
	}
	for range aheadBlocks {
		a.free <- nil // allocated when first used: most layers fit in one
	}
	go a.run(r)
	return a
}

func (a *ahead) run(r io.Reader) {
	defer close(a.done)
	defer close(a.full)
	for {
		var b []byte
		select {
		case b = <-a.free:
		case <-a.quit:
			return
		}
		if b == nil {
			b = make([]byte, aheadBlock)
		}
		n, err := fill(r, b)
		a.full <- b[:n] // never blocks: there are no more blocks than places
		if err != nil {
			a.err = err
			return
		}
	}
}

// fill is io.ReadFull but hands on the reader's own error: io.ErrUnexpectedEOF from a cut gzip stream must not look like its end.
func fill(r io.Reader, b []byte) (n int, err error) {
	for n < len(b) && err == nil {
		var k int
		k, err = r.Read(b[n:])
		n += k
	}
	return n, err
}

func (a *ahead) Read(p []byte) (int, error) {
	for len(a.rest) == 0 {
		if a.block != nil {
			a.free <- a.block[:cap(a.block)]
			a.block = nil
		}
		select {
		case b, ok := <-a.full:
			if !ok {
				return 0, a.err
			}
			a.block, a.rest = b, b
		case <-a.ctx.Done():
			return 0, a.ctx.Err()
		}
	}
	n := copy(p, a.rest)
	a.rest = a.rest[n:]
	return n, nil
}

// stop returns once nothing reads from the stream any more.
func (a *ahead) stop() {
	close(a.quit)
	<-a.done
}
