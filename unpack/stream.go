package unpack

import (
	"context"
	"errors"
	"io"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/umiak/umiak/unpack/inflate"
)

// Blocks in which a layer is read ahead: large, so that goroutines meet seldom; few, so that a layer costs 8 MiB of memory
// whatever is in it.
const (
	blockSize   = 1 << 20
	blocksAhead = 8
)

// workers is how many goroutines do the same thing at once; more of them only get in one another's way.
func workers() int { return min(runtime.GOMAXPROCS(0), 4) }

// block is a part of a layer's tar, shared by all who still need it: reading, checking and writing it copy nothing.
type block struct {
	data   []byte
	stream *stream
	users  atomic.Int32

	plain   []byte // memory to read into
	inflate inflate.Block
}

func (b *block) release() {
	if b.users.Add(-1) == 0 {
		s := b.stream
		s.pool.put(b)
		s.tokens <- struct{}{} // has room: the token was taken from there
	}
}

// piece is what one user has of a block.
type piece struct {
	data  []byte
	block *block
}

// pool keeps blocks for the next who needs one, of whatever layer.
type pool struct {
	mu     sync.Mutex
	blocks []*block
}

func (p *pool) put(b *block) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.blocks = append(p.blocks, b)
}

func (p *pool) get() *block {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(p.blocks)
	if n == 0 {
		return new(block)
	}
	b := p.blocks[n-1]
	p.blocks = p.blocks[:n-1]
	return b
}

// stream is a layer being read and decompressed, in a goroutine of its own, and checked in another.
type stream struct {
	layer   Layer
	library bool // decompress gzip with the library
	pool    *pool
	tokens  chan struct{} // one for each block that may still be taken
	blocks  chan *block   // closed at the end, err then being set
	check   chan *block   // nil: nobody checks
	checked chan error
	err     error
}

// streams reads layers ahead of the one being applied, as many at once as there are processors to do it.
type streams struct {
	ctx     context.Context
	cancel  context.CancelFunc
	all     []*stream
	started int
	running sync.WaitGroup
}

func newStreams(ctx context.Context, layers []Layer, o Options) *streams {
	s := &streams{}
	s.ctx, s.cancel = context.WithCancel(ctx)
	p := new(pool)
	for _, l := range layers {
		st := &stream{layer: l, library: o.LibraryGzip, pool: p, blocks: make(chan *block, blocksAhead), tokens: make(chan struct{}, blocksAhead)}
		for range blocksAhead {
			st.tokens <- struct{}{}
		}
		s.all = append(s.all, st)
	}
	return s
}

// stream starts layer i and those that follow it.
func (s *streams) stream(i int) *stream {
	for ; s.started < min(len(s.all), i+workers()); s.started++ {
		st := s.all[s.started]
		if st.layer.Verify != nil {
			st.check, st.checked = make(chan *block, blocksAhead), make(chan error, 1)
			s.running.Go(st.verify)
		}
		s.running.Go(func() { st.run(s.ctx) })
	}
	return s.all[i]
}

// stop returns once nothing reads from any layer any more.
func (s *streams) stop() {
	s.cancel()
	s.running.Wait()
}

func (s *stream) run(ctx context.Context) {
	s.err = s.read(ctx)
	if s.check != nil {
		close(s.check)
	}
	close(s.blocks)
}

// read returns how the layer ended: io.EOF when all was well.
func (s *stream) read(ctx context.Context) (err error) {
	src, err := s.layer.Open(ctx)
	if err != nil {
		return notEOF(err)
	}
	defer func() {
		if cerr := src.Close(); cerr != nil {
			err = errors.Join(eofIsNil(err), cerr)
		}
	}()
	d, err := newDecoder(src, s.library)
	if err != nil {
		return notEOF(err)
	}
	defer d.close()
	for {
		select {
		case <-s.tokens:
		case <-ctx.Done():
			return ctx.Err()
		}
		b := s.pool.get()
		b.stream = s
		b.users.Store(1)
		b.data, err = d.fill(b)
		if len(b.data) == 0 {
			b.release()
		} else {
			s.send(b)
		}
		if err != nil {
			return err
		}
	}
}

// send never blocks: there are no more blocks than places.
func (s *stream) send(b *block) {
	if s.check != nil {
		b.users.Add(1)
		s.check <- b
	}
	s.blocks <- b
}

func (s *stream) verify() {
	var err error
	for b := range s.check {
		if err == nil {
			_, err = s.layer.Verify.Write(b.data)
		}
		b.release()
	}
	s.checked <- errors.Join(err, s.layer.Verify.Close())
}

// verified tells, at the end of the stream, whether it was the right one.
func (s *stream) verified() error {
	if s.checked == nil {
		return nil
	}
	return <-s.checked
}

// notEOF is for errors of opening: an end there is no end of a layer.
func notEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

func eofIsNil(err error) error {
	if err == io.EOF {
		return nil
	}
	return err
}
