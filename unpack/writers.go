package unpack

import (
	"io"
	"maps"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/umiak/umiak/unpack/rootfs"
)

// Small files are handed on together, as waking a goroutine costs about as much as writing one of them.
const (
	smallFile  = 1 << 20   // above that a file is handed on while it is still being read
	batchFiles = 32        // at most
	batchBytes = 256 << 10 // from there on no more
)

// writers is the sink that writes a directory. Names are made in the engine's goroutine and in its order; only what is in files,
// which is nearly all the work, is left to others. Whatever touches a file again waits for whoever is still writing it.
type writers struct {
	*rootfs.Dir
	queue   chan []*job
	running sync.WaitGroup

	batch   []*job
	bytes   int64
	pending map[string]*job // those not known to be done, by name
	sweep   int             // so many of them are worth finding out

	mu      sync.Mutex
	done    sync.Cond
	waiting atomic.Bool
	failed  atomic.Bool
	err     error // the first
}

// job is a file to be written.
type job struct {
	file   *rootfs.File
	pieces []piece
	more   chan piece // what pieces has not; nil: nothing
	done   atomic.Bool
}

func newWriters(dir *rootfs.Dir, n int) *writers {
	w := &writers{Dir: dir, queue: make(chan []*job, n), pending: map[string]*job{}}
	w.done.L = &w.mu
	for range n {
		w.running.Go(w.work)
	}
	return w
}

func (w *writers) close() {
	w.send()
	close(w.queue)
	w.running.Wait()
}

func (w *writers) WriteFile(name string, c *contents, a rootfs.Attrs) error {
	if err := w.failure(); err != nil {
		return err
	}
	if c.source == nil {
		return w.Dir.WriteFile(name, c, a)
	}
	f, err := w.File(name, a)
	if err != nil {
		return err
	}
	j := &job{file: f}
	if c.size > smallFile {
		j.more = make(chan piece, blocksAhead)
		defer close(j.more)
		w.add(name, j, c.size)
	}
	err = w.take(j, c)
	if j.more == nil {
		w.add(name, j, c.size)
	}
	return err
}

// take passes on what is in the file.
func (w *writers) take(j *job, c *contents) error {
	for {
		p, err := c.next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if j.more == nil {
			j.pieces = append(j.pieces, p)
			continue
		}
		j.more <- p
		if err := w.failure(); err != nil {
			return err
		}
	}
}

func (w *writers) add(name string, j *job, size int64) {
	if len(w.pending) >= w.sweep {
		maps.DeleteFunc(w.pending, func(_ string, j *job) bool { return j.done.Load() })
		w.sweep = 2*len(w.pending) + batchFiles // each is looked at about once
	}
	w.pending[name] = j
	w.batch = append(w.batch, j)
	w.bytes += size
	if len(w.batch) >= batchFiles || w.bytes >= batchBytes {
		w.send()
	}
}

func (w *writers) send() {
	if len(w.batch) > 0 {
		w.queue <- w.batch
		w.batch, w.bytes = nil, 0
	}
}

func (w *writers) work() {
	for batch := range w.queue {
		for _, j := range batch {
			w.finish(j, w.write(j))
		}
	}
}

// write takes all pieces even after an error: somebody else waits for their memory, or for room to hand on more.
func (w *writers) write(j *job) error {
	err := w.failure()
	if err == nil {
		err = j.file.Create()
	}
	for _, p := range j.pieces {
		err = writePiece(j.file, p, err)
	}
	if j.more != nil {
		for p := range j.more {
			err = writePiece(j.file, p, err)
		}
	}
	if cerr := j.file.Close(); err == nil {
		err = cerr
	}
	return err
}

func writePiece(f *rootfs.File, p piece, err error) error {
	if err == nil {
		_, err = f.Write(p.data)
	}
	p.block.release()
	return err
}

func (w *writers) finish(j *job, err error) {
	if err != nil {
		w.mu.Lock()
		if w.err == nil {
			w.err = err
		}
		w.mu.Unlock()
		w.failed.Store(true)
	}
	j.done.Store(true)
	if w.waiting.Load() {
		w.mu.Lock()
		w.done.Broadcast()
		w.mu.Unlock()
	}
}

// failure is the first error of any writer.
func (w *writers) failure() error {
	if !w.failed.Load() {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// wait returns once a job is done, well or not.
func (w *writers) wait(j *job) {
	if j.done.Load() {
		return
	}
	w.send() // it may be in there
	w.waiting.Store(true)
	defer w.waiting.Store(false)
	w.mu.Lock()
	defer w.mu.Unlock()
	for !j.done.Load() {
		w.done.Wait()
	}
}

func (w *writers) Remove(name string) error {
	if j := w.pending[name]; j != nil {
		w.wait(j)
		delete(w.pending, name)
	}
	return w.Dir.Remove(name)
}

func (w *writers) RemoveAll(name string) error {
	for other, j := range w.pending {
		if strings.HasPrefix(other, name+"/") {
			w.wait(j)
			delete(w.pending, other)
		}
	}
	return w.Dir.RemoveAll(name)
}

func (w *writers) Link(old, name string) error {
	if j := w.pending[old]; j != nil {
		w.wait(j)
	}
	return w.Dir.Link(old, name)
}

func (w *writers) Flush() error {
	for _, j := range w.pending {
		w.wait(j)
	}
	clear(w.pending)
	return w.failure()
}
