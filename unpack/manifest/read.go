package manifest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"runtime"
	"sync"

	"golang.org/x/sys/unix"
)

const (
	bufSize = 256 << 10
	// smallFile is what is read at once: to wake somebody else for it costs more.
	smallFile = 16 << 10
	// maxReaders is how many read at once; each holds a processor.
	maxReaders = 4
)

// content is the hash of a file, once done is closed. Nil is nothing to wait for.
type content struct {
	sum  string
	err  error
	done chan struct{}
}

func (c *content) ready() bool {
	if c == nil || c.done == nil {
		return true
	}
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

// readers read files for the walker, which is busy with names meanwhile.
type readers struct {
	jobs    chan job
	running sync.WaitGroup
	hash    hash.Hash // the walker's own
}

type job struct {
	fd   int
	size int64
	to   *content
}

func (r *readers) start(ctx context.Context) {
	n := min(runtime.GOMAXPROCS(0), maxReaders)
	r.jobs = make(chan job, 2*n) // one descriptor each
	r.hash = sha256.New()
	for range n {
		r.running.Go(func() {
			h, buf := sha256.New(), []byte(nil)
			for j := range r.jobs {
				if buf == nil {
					buf = make([]byte, bufSize)
				}
				j.to.sum, j.to.err = readFile(ctx, j.fd, j.size, h, buf)
				close(j.to.done)
			}
		})
	}
}

func (r *readers) stop() {
	close(r.jobs)
	r.running.Wait()
}

// read hashes what is in fd, and closes it: at once or in a while.
func (r *readers) read(ctx context.Context, fd int, size int64, buf []byte) *content {
	c := &content{}
	if size <= smallFile {
		c.sum, c.err = readFile(ctx, fd, size, r.hash, buf)
		return c
	}
	c.done = make(chan struct{})
	r.jobs <- job{fd, size, c}
	return c
}

func readFile(ctx context.Context, fd int, size int64, h hash.Hash, buf []byte) (string, error) {
	defer unix.Close(fd)
	h.Reset()
	for {
		n, err := unix.Read(fd, buf)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return "", err
		case ctx.Err() != nil:
			return "", context.Cause(ctx)
		}
		h.Write(buf[:n])
		size -= int64(n)
		// A short read that reaches the end is the last: it saves small files a call.
		if n == 0 || size == 0 && n < len(buf) {
			return hex.EncodeToString(h.Sum(nil)), nil
		}
	}
}
