package registry

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/umiak/umiak/cache/digest"
	"github.com/umiak/umiak/image"
)

// world is an internet in memory: handlers by scheme://host. What is sent where is
// noted. Nothing in it waits for real time, so synctest can make time pass.
type world struct {
	hosts map[string]http.Handler
	mu    sync.Mutex
	log   []*http.Request
	cut   map[string]func(*http.Response) *http.Response
}

func (w *world) RoundTrip(req *http.Request) (*http.Response, error) {
	w.mu.Lock()
	w.log = append(w.log, req)
	w.mu.Unlock()
	if err := req.Context().Err(); err != nil {
		return nil, err
	}
	h := w.hosts[req.URL.Scheme+"://"+req.URL.Host]
	if h == nil {
		return nil, errors.New("no such host in this world")
	}
	rec := &recorder{ResponseRecorder: httptest.NewRecorder()}
	h.ServeHTTP(rec, req)
	if rec.err != nil {
		return nil, rec.err
	}
	resp := rec.Result()
	resp.Request = req
	if rec.body != nil {
		resp.Body = io.NopCloser(rec.body)
	}
	return resp, nil
}

// authorized lists where credentials were sent.
func (w *world) authorized() []string {
	seen := map[string]bool{}
	for _, req := range w.log {
		if req.Header.Get("Authorization") != "" {
			seen[req.URL.Scheme+"://"+req.URL.Host] = true
		}
	}
	return slices.Sorted(maps.Keys(seen))
}

func (w *world) count(method string, part string) (n int) {
	for _, req := range w.log {
		if req.Method == method && strings.Contains(req.URL.Path, part) {
			n++
		}
	}
	return n
}

// A recorder lets a handler break the connection.
type recorder struct {
	*httptest.ResponseRecorder
	err  error     // instead of an answer
	body io.Reader // instead of what was written
}

func refuse(w http.ResponseWriter, err error)        { w.(*recorder).err = err }
func sendBody(w http.ResponseWriter, body io.Reader) { w.(*recorder).body = body }

// broken delivers b and then err.
func broken(b []byte, err error) io.Reader {
	return io.MultiReader(bytes.NewReader(b), readerFunc(func([]byte) (int, error) { return 0, err }))
}

// limited ends what is endless to whoever fails to end it himself.
func limited(r io.Reader) io.Reader {
	left := 16 << 20
	return readerFunc(func(p []byte) (int, error) {
		n, err := r.Read(p)
		if left -= n; left < 0 {
			return 0, errors.New("read without end")
		}
		return n, err
	})
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// A server is a registry with one image, o/r:t, and a hook before every answer.
type server struct {
	manifest, config, layer []byte
	top                     []byte // what the tag names: the manifest, or an index
	before                  func(w http.ResponseWriter, r *http.Request) (done bool)
	authenticate            string // a challenge for whoever has no authorization
}

func newServer() *server {
	s := &server{layer: bytes.Repeat([]byte("0123456789abcdef"), 20_000)}
	tar := digest.FromBytes([]byte("tar"))
	s.config = fmt.Appendf(nil, `{"os":"linux","architecture":"amd64","rootfs":{"type":"layers","diff_ids":[%q]}}`, tar)
	m, err := json.Marshal(map[string]any{
		"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
		"config": map[string]any{"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest.FromBytes(s.config), "size": len(s.config)},
		"layers": []any{map[string]any{"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": digest.FromBytes(s.layer), "size": len(s.layer)}},
	})
	if err != nil {
		panic(err)
	}
	s.manifest, s.top = m, m
	return s
}

// index puts the image into one.
func (s *server) index() {
	s.top = fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{
		"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":%q,"size":%d,"platform":{"os":"linux","architecture":"amd64"}}]}`,
		digest.FromBytes(s.manifest), len(s.manifest))
}

// document is what is at path.
func (s *server) document(path string) ([]byte, bool) {
	for _, b := range [][]byte{s.top, s.manifest, s.config, s.layer} {
		if strings.HasSuffix(path, digest.FromBytes(b).String()) {
			return b, true
		}
	}
	return s.top, strings.HasSuffix(path, "/manifests/t")
}

func (s *server) imageLayer() image.Layer {
	return image.Layer{Digest: digest.FromBytes(s.layer), Size: int64(len(s.layer))}
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if auth := r.Header.Get("Authorization"); s.authenticate != "" && (auth == "" || auth == "Bearer ") {
		w.Header().Set("WWW-Authenticate", s.authenticate)
		http.Error(w, `{"errors":[{"code":"UNAUTHORIZED","message":"log in first"}]}`, http.StatusUnauthorized)
		return
	}
	if s.before != nil && s.before(w, r) {
		return
	}
	if r.URL.Path == "/v2/" {
		return
	}
	if b, ok := s.document(r.URL.Path); ok {
		_, _ = w.Write(b)
		return
	}
	http.Error(w, `{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}`, http.StatusNotFound)
}

func parse(t *testing.T, s string) image.Reference {
	t.Helper()
	ref, err := image.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

var amd64 = image.Platform{OS: "linux", Architecture: "amd64"}

// readLayer opens and reads a layer, verified as the cache does it.
func readLayer(t *testing.T, r *Registry, ref image.Reference, l image.Layer) ([]byte, error) {
	t.Helper()
	rc, err := r.Open(t.Context(), ref, l)
	if err != nil {
		return nil, err
	}
	defer rc.Close()
	return io.ReadAll(limited(digest.NewReader(rc, l.Digest, l.Size)))
}
