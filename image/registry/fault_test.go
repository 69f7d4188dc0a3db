package registry

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/umiak/umiak/cache/digest"
)

// part answers a request for a blob as a good registry does.
func part(w http.ResponseWriter, r *http.Request, b []byte) []byte {
	from, _ := strconv.Atoi(strings.TrimSuffix(strings.TrimPrefix(r.Header.Get("Range"), "bytes="), "-"))
	if from > 0 {
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(b)-1, len(b)))
		w.WriteHeader(http.StatusPartialContent)
	}
	return b[from:]
}

// stuck delivers b and then nothing until the request is given up.
func stuck(r *http.Request, b []byte) io.Reader {
	return io.MultiReader(bytes.NewReader(b), readerFunc(func([]byte) (int, error) {
		<-r.Context().Done()
		return 0, r.Context().Err()
	}))
}

// What a layer's transfer survives, what not, and how long it takes at most. Time
// is synctest's, so that the waits cost nothing.
func TestTransfer(t *testing.T) {
	const cut = 100_000
	first := func(n, limit int) bool { return n <= limit }
	for _, c := range []struct {
		about string
		blob  func(s *server, w http.ResponseWriter, r *http.Request, n int)
		fails string
		is    error
		limit time.Duration
	}{
		{"nothing goes wrong", func(s *server, w http.ResponseWriter, r *http.Request, _ int) { w.Write(s.layer) }, "", nil, 0},
		{"cut seven times, further on each time", func(s *server, w http.ResponseWriter, r *http.Request, n int) {
			b := part(w, r, s.layer)
			if first(n, 7) {
				sendBody(w, broken(b[:40_000], io.ErrUnexpectedEOF))
			} else {
				sendBody(w, bytes.NewReader(b))
			}
		}, "", nil, 3 * time.Second},
		{"reset once, ranges ignored", func(s *server, w http.ResponseWriter, r *http.Request, n int) {
			if first(n, 1) {
				sendBody(w, broken(s.layer[:cut], syscall.ECONNRESET))
			} else {
				w.Write(s.layer)
			}
		}, "", nil, time.Second},
		{"a part from the beginning instead of the rest", func(s *server, w http.ResponseWriter, r *http.Request, n int) {
			if first(n, 1) {
				sendBody(w, broken(s.layer[:cut], io.ErrUnexpectedEOF))
				return
			}
			w.Header().Set("Content-Range", fmt.Sprintf("bytes 0-%d/%d", len(s.layer)-1, len(s.layer)))
			w.WriteHeader(http.StatusPartialContent)
			w.Write(s.layer)
		}, "", nil, time.Second},
		{"a part further on than asked", func(s *server, w http.ResponseWriter, r *http.Request, n int) {
			if first(n, 1) {
				sendBody(w, broken(s.layer[:cut], io.ErrUnexpectedEOF))
				return
			}
			w.Header().Set("Content-Range", "bytes 200000-300000/320000")
			w.WriteHeader(http.StatusPartialContent)
		}, "asked for bytes from 100000 on, it sends them from 200000 on", nil, time.Second},
		{"a part of something", func(s *server, w http.ResponseWriter, r *http.Request, n int) {
			if first(n, 1) {
				sendBody(w, broken(s.layer[:cut], io.ErrUnexpectedEOF))
				return
			}
			w.WriteHeader(http.StatusPartialContent)
		}, "without saying which", nil, time.Second},
		{"a clean end, too early", func(s *server, w http.ResponseWriter, r *http.Request, n int) {
			b := part(w, r, s.layer)
			if first(n, 1) {
				b = b[:cut]
			}
			sendBody(w, bytes.NewReader(b))
		}, "", nil, time.Second},
		{"complete, but Content-Length promised more", func(s *server, w http.ResponseWriter, r *http.Request, _ int) {
			sendBody(w, broken(s.layer, io.ErrUnexpectedEOF))
		}, "", nil, 0},
		{"always cut at the same place", func(s *server, w http.ResponseWriter, r *http.Request, _ int) {
			sendBody(w, broken(s.layer[:cut], io.ErrUnexpectedEOF))
		}, "ended after 100000 of 320000 bytes and trying again got no further", nil, 10 * time.Second},
		{"bytes too many", func(s *server, w http.ResponseWriter, r *http.Request, _ int) {
			w.Write(append(s.layer[:len(s.layer):len(s.layer)], 'x'))
		}, "longer than", digest.ErrMismatch, 0},
		{"one byte differs", func(s *server, w http.ResponseWriter, r *http.Request, _ int) {
			b := bytes.Clone(s.layer)
			b[7]++
			w.Write(b)
		}, "does not match", digest.ErrMismatch, 0},
		{"stalls once", func(s *server, w http.ResponseWriter, r *http.Request, n int) {
			b := part(w, r, s.layer)
			if first(n, 1) {
				sendBody(w, stuck(r, b[:cut]))
			} else {
				sendBody(w, bytes.NewReader(b))
			}
		}, "", nil, stallTime + 2*time.Second},
		{"stalls always", func(s *server, w http.ResponseWriter, r *http.Request, _ int) {
			sendBody(w, stuck(r, part(w, r, s.layer)[:0]))
		}, "the transfer stalled", nil, 2*stallTime + 10*time.Second},
		{"trickles", func(s *server, w http.ResponseWriter, r *http.Request, _ int) {
			sendBody(w, limited(readerFunc(func(p []byte) (int, error) {
				select {
				case <-time.After(time.Second):
					return min(100, len(p)), nil
				case <-r.Context().Done():
					return 0, r.Context().Err()
				}
			})))
		}, "the transfer stalled", nil, 2*stallTime + 10*time.Second},
		{"slow, but steady", func(s *server, w http.ResponseWriter, r *http.Request, _ int) {
			rest := bytes.NewReader(s.layer)
			sendBody(w, readerFunc(func(p []byte) (int, error) {
				time.Sleep(time.Second)
				return rest.Read(p[:min(len(p), 2000)])
			}))
		}, "", nil, 170 * time.Second},
		{"500 once", func(s *server, w http.ResponseWriter, r *http.Request, n int) {
			if first(n, 1) {
				w.WriteHeader(http.StatusInternalServerError)
			} else {
				w.Write(s.layer)
			}
		}, "", nil, time.Second},
		{"500 always", func(s *server, w http.ResponseWriter, r *http.Request, _ int) { w.WriteHeader(500) },
			"registry r.example answers 500 Internal Server Error", nil, 10 * time.Second},
		{"429 three times, with Retry-After", func(s *server, w http.ResponseWriter, r *http.Request, n int) {
			if first(n, 3) {
				w.Header().Set("Retry-After", "1")
				w.WriteHeader(http.StatusTooManyRequests)
			} else {
				w.Write(s.layer)
			}
		}, "", nil, 8 * time.Second},
		{"429 for an hour", func(s *server, w http.ResponseWriter, r *http.Request, _ int) {
			w.Header().Set("Retry-After", "3600")
			w.WriteHeader(http.StatusTooManyRequests)
		}, "429 Too Many Requests; it asks to wait for 1h0m0s", nil, 0},
		{"connections reset twice before the answer", func(s *server, w http.ResponseWriter, r *http.Request, n int) {
			if first(n, 2) {
				refuse(w, syscall.ECONNRESET)
			} else {
				w.Write(s.layer)
			}
		}, "", nil, time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newServer()
			n := 0
			s.before = func(w http.ResponseWriter, r *http.Request) bool {
				if strings.Contains(r.URL.Path, "/blobs/") {
					n++
					c.blob(s, w, r, n)
					return true
				}
				return false
			}
			src := New(Options{Transport: &world{hosts: map[string]http.Handler{"https://r.example": s}}})
			start := time.Now()
			b, err := readLayer(t, src, parse(t, "r.example/o/r:t"), s.imageLayer())
			if took := time.Since(start); took > c.limit {
				t.Errorf("%s: took %s, want %s at most", c.about, took, c.limit)
			}
			switch {
			case c.fails == "" && (err != nil || !bytes.Equal(b, s.layer)):
				t.Errorf("%s: %d bytes, %v", c.about, len(b), err)
			case c.fails != "" && (err == nil || !strings.Contains(err.Error(), c.fails) || c.is != nil && !errors.Is(err, c.is)):
				t.Errorf("%s: %v; want %q", c.about, err, c.fails)
			}
		})
	}
}

// A manifest that is cut off is asked for again.
func TestManifestInterrupted(t *testing.T) {
	for times, ok := range map[int]bool{1: true, 100: false} {
		synctest.Test(t, func(t *testing.T) {
			s := newServer()
			n := 0
			s.before = func(w http.ResponseWriter, r *http.Request) bool {
				if !strings.Contains(r.URL.Path, "/manifests/") {
					return false
				}
				if n++; n <= times {
					sendBody(w, broken(s.manifest[:20], io.ErrUnexpectedEOF))
				}
				return n <= times
			}
			src := New(Options{Transport: &world{hosts: map[string]http.Handler{"https://r.example": s}}})
			if _, err := src.Resolve(t.Context(), parse(t, "r.example/o/r:t"), amd64); (err == nil) != ok {
				t.Errorf("cut %d times: %v", times, err)
			}
		})
	}
}

// The config is taken up like a layer.
func TestConfigInterrupted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer()
		n := 0
		s.before = func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.Contains(r.URL.Path, "/blobs/") {
				return false
			}
			b := part(w, r, s.config)
			if n++; n == 1 {
				b = b[:20]
			}
			sendBody(w, bytes.NewReader(b))
			return true
		}
		src := New(Options{Transport: &world{hosts: map[string]http.Handler{"https://r.example": s}}})
		if _, err := src.Resolve(t.Context(), parse(t, "r.example/o/r:t"), amd64); err != nil || n != 2 {
			t.Errorf("after %d requests: %v", n, err)
		}
	})
}
