package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// A transfer that brings less than minProgress in a stallTime of waiting is given
// up as stalled: 800 bytes a second is slower than any line people pull images
// over, and no read timeout alone would end a server that sends a byte a second.
const (
	stallTime   = 20 * time.Second
	minProgress = 16 << 10
)

var errStalled = errors.New("the transfer stalled")

// open returns a blob's bytes. Interruptions are healed inside the reader that it
// returns, as long as each attempt gets further than the one before.
func (r *repository) open(ctx context.Context, id string, size int64) (io.ReadCloser, error) {
	b := &body{ctx: ctx, repo: r, id: id, size: size}
	if err := b.connect(); err != nil {
		return nil, err
	}
	return b, nil
}

// A body is one blob on its way, over as many requests as it takes.
type body struct {
	ctx  context.Context
	repo *repository
	id   string
	size int64 // as the manifest says; Content-Length has been seen to lie

	off     int64 // how much was passed on
	started int64 // off when the last attempt began
	tries   int   // attempts in a row that brought little
	rc      io.ReadCloser
	w       *watcher
	err     error
}

func (b *body) Read(p []byte) (int, error) {
	for b.err == nil {
		if b.rc == nil {
			if b.err = b.connect(); b.err != nil {
				break
			}
		}
		n, err := b.rc.Read(p)
		b.off += int64(n)
		switch {
		case err == nil || n > 0:
			return n, nil
		case b.off >= b.size && b.ctx.Err() == nil:
			b.err = io.EOF // whatever the connection thinks: the digest decides
		case err == io.EOF:
			b.err = b.again(io.ErrUnexpectedEOF) // a clean end, but too early
		default:
			b.err = b.again(err)
		}
	}
	return 0, b.err
}

// again decides whether to connect once more after err.
func (b *body) again(err error) error {
	b.disconnect()
	if b.ctx.Err() != nil {
		return context.Cause(b.ctx)
	}
	if !interrupted(err) {
		return b.repo.transferError(b.id, err)
	}
	if b.off-b.started >= minProgress {
		b.tries = 0
	}
	b.tries++
	if errors.Is(err, errStalled) {
		b.tries += 2 // it has cost a long wait already
	}
	if b.tries > maxRetries {
		return b.repo.transferError(b.id, fmt.Errorf("it ended after %d of %d bytes and trying again got no further: %w", b.off, b.size, err))
	}
	return sleep(b.ctx, backoff(b.tries-1))
}

// connect asks for what is still missing. A server that ignores ranges sends
// everything: what we have is read and dropped, and the digest tells whether it
// was the same.
func (b *body) connect() error {
	b.started = b.off
	ctx, w := watch(b.ctx)
	resp, err := b.repo.get(ctx, "blobs", b.id, b.off)
	if err != nil {
		w.stop()
		return err
	}
	b.rc, b.w = readCloser{w.reader(resp.Body), resp.Body}, w
	start, err := firstByte(resp)
	if err == nil && start > b.off {
		err = fmt.Errorf("asked for bytes from %d on, it sends them from %d on", b.off, start)
	}
	if err != nil {
		b.disconnect()
		return b.repo.transferError(b.id, err)
	}
	if _, err := io.CopyN(io.Discard, b.rc, b.off-start); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return b.again(err)
	}
	return nil
}

// firstByte is where in the blob an answer begins.
func firstByte(resp *http.Response) (int64, error) {
	if resp.StatusCode != http.StatusPartialContent {
		return 0, nil
	}
	h := resp.Header.Get("Content-Range")
	first, _, ok := strings.Cut(strings.TrimPrefix(h, "bytes "), "-")
	n, err := strconv.ParseInt(first, 10, 64)
	if !ok || err != nil || n < 0 {
		return 0, fmt.Errorf("it sends a part without saying which: Content-Range %.50q", h)
	}
	return n, nil
}

func (b *body) disconnect() {
	if b.rc != nil {
		b.rc.Close()
		b.w.stop()
		b.rc = nil
	}
}

func (b *body) Close() error {
	b.disconnect()
	b.err = errors.New("reading a closed layer")
	return nil
}

type readCloser struct {
	io.Reader
	io.Closer
}

// A watcher ends a request that has stalled. Only the time spent waiting for the
// network counts: a reader that is busy elsewhere is not the server's fault.
type watcher struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	timer  *time.Timer
	waited time.Duration
	got    int
	r      io.Reader
}

func watch(ctx context.Context) (context.Context, *watcher) {
	w := &watcher{}
	w.ctx, w.cancel = context.WithCancelCause(ctx)
	w.timer = time.AfterFunc(time.Hour, func() { w.cancel(errStalled) })
	w.timer.Stop()
	return w.ctx, w
}

func (w *watcher) stop() {
	w.timer.Stop()
	w.cancel(context.Canceled)
}

func (w *watcher) reader(r io.Reader) io.Reader {
	w.r = r
	return w
}

func (w *watcher) Read(p []byte) (int, error) {
	start := time.Now()
	w.timer.Reset(stallTime - w.waited)
	n, err := w.r.Read(p)
	w.timer.Stop()
	if err != nil && err != io.EOF && w.ctx.Err() != nil {
		return n, context.Cause(w.ctx)
	}
	w.waited += time.Since(start)
	if w.got += n; w.got >= minProgress {
		w.waited, w.got = 0, 0
	}
	return n, err
}
