package registry

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/umiak/umiak/cache/digest"
	"github.com/umiak/umiak/image"
)

// certificate makes one for host, signed by itself.
func certificate(t *testing.T, host string, until time.Time) tls.Certificate {
	t.Helper()
	key := must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: until.Add(-24 * time.Hour), NotAfter: until,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	if ip := net.ParseIP(host); ip != nil {
		c.IPAddresses = []net.IP{ip}
	} else {
		c.DNSNames = []string{host}
	}
	der := must[[]byte](t)(x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key))
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: must[*x509.Certificate](t)(x509.ParseCertificate(der))}
}

// What is wrong with a certificate is said, and what may help.
func TestCertificates(t *testing.T) {
	later := time.Now().Add(time.Hour)
	for _, c := range []struct {
		about, host      string
		until            time.Time
		trusted, clients bool
		says, hint       string
	}{
		{"good", "127.0.0.1", later, true, false, "", ""},
		{"expired", "127.0.0.1", time.Now().Add(-time.Hour), true, false, "expired", "clock"},
		{"another host's", "r.example", later, true, false, "127.0.0.1", "a name that the certificate is for"},
		{"unknown authority", "127.0.0.1", later, false, false, "unknown authority", "SSL_CERT_FILE"},
		{"client certificate", "127.0.0.1", later, true, true, "certificate required", "client certificate"},
	} {
		cert := certificate(t, c.host, c.until)
		roots := x509.NewCertPool()
		if c.trusted {
			roots.AddCert(cert.Leaf)
		}
		s := httptest.NewUnstartedServer(newServer())
		s.Config.ErrorLog = log.New(io.Discard, "", 0)
		s.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
		if c.clients {
			s.TLS.ClientAuth = tls.RequireAndVerifyClientCert
		}
		s.StartTLS()
		tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
		_, err := New(Options{Transport: tr}).Resolve(t.Context(), parse(t, s.Listener.Addr().String()+"/o/r:t"), amd64)
		tr.CloseIdleConnections()
		s.Close()
		if c.says == "" {
			if err != nil {
				t.Errorf("%s: %v", c.about, err)
			}
			continue
		}
		if e, ok := errors.AsType[*image.RegistryError](err); !ok || !strings.Contains(e.Error(), "no secure connection") || !strings.Contains(e.Error(), c.says) || !strings.Contains(e.Hint, c.hint) {
			t.Errorf("%s: %#v; want %q and the hint %q", c.about, err, c.says, c.hint)
		}
	}
}

// Who answers, but not as a registry should, is told from who doesn't answer.
func TestDiagnose(t *testing.T) {
	always := func(status int, contentType, body string) func(*server, http.ResponseWriter, *http.Request) bool {
		return func(_ *server, w http.ResponseWriter, r *http.Request) bool {
			w.Header().Set("Content-Type", contentType)
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
			return true
		}
	}
	at := func(part string, f func(*server, http.ResponseWriter, *http.Request) bool) func(*server, http.ResponseWriter, *http.Request) bool {
		return func(s *server, w http.ResponseWriter, r *http.Request) bool {
			return strings.Contains(r.URL.Path, part) && f(s, w, r)
		}
	}
	circle := func(_ *server, w http.ResponseWriter, r *http.Request) bool {
		http.Redirect(w, r, r.URL.Path, http.StatusTemporaryRedirect)
		return true
	}
	const html, page = "text/html; charset=utf-8", "<!DOCTYPE html><html><title>Log in</title></html>"
	for _, c := range []struct {
		about, challenge string
		before           func(*server, http.ResponseWriter, *http.Request) bool
		is               error
		says, hint       string
	}{
		{"a web page for everything", "", always(200, html, page), nil, "registry r.example: it answered with a web page", "r.example is no registry"},
		{"no registry", "", always(404, html, page), nil, "it answered 404 Not Found with a web page", "is no registry"},
		{"a proxy's refusal", "", at("/manifests/", always(403, html, page)), image.ErrUnauthorized, "403 Forbidden with a web page", "proxy"},
		{"a proxy's failure", "", at("/manifests/", always(501, html, page)), nil, "501 Not Implemented with a web page", "proxy"},
		{"a page for a layer or config", "", at("/blobs/", always(200, html, page)), nil, "with a web page", "proxy"},
		{"a missing image, politely", "", at("/manifests/", always(404, html, page)), image.ErrNotFound, "not found in registry r.example", ""},
		{"a ping in a circle", "", at("/v2/", circle), nil, "registry r.example: it redirects in a circle", "proxy"},
		{"a manifest in a circle", "", at("/manifests/", circle), nil, "registry r.example: it redirects in a circle: stopped after 10 redirects", "proxy"},
		{"plain http", "", func(_ *server, w http.ResponseWriter, _ *http.Request) bool {
			refuse(w, http.ErrSchemeMismatch)
			return true
		}, nil, "registry r.example: it speaks plain http", "this machine only"},
		{"another TLS", "", func(_ *server, w http.ResponseWriter, _ *http.Request) bool {
			refuse(w, errors.New("tls: server selected unsupported protocol version 301"))
			return true
		}, nil, "no secure connection: tls: server selected", ""},
		{"a token from the cloud's metadata", `Bearer realm="https://169.254.169.254/token"`, nil, nil, `token service is refused: realm host "169.254.169.254" is a private`, "private addresses"},
		{"a token from this machine", `Bearer realm="https://127.0.0.1/token"`, nil, nil, `token service is refused: realm host "127.0.0.1"`, "private addresses"},
		{"a token from this machine by name", `Bearer realm="https://localhost/token"`, nil, nil, "registry localhost: refused to be sent to localhost", "this machine"},
		{"a token in the clear", `Bearer realm="http://auth.example/token"`, nil, nil, "token service is refused: realm scheme", "private addresses"},
		{"a token from a redirect to this machine", `Bearer realm="https://auth.example/redirect"`, nil, nil, "token service sends us on to a private address", "who runs it"},
		{"a token from nowhere", `Bearer service="x"`, nil, nil, "does not say where to get one", ""},
	} {
		s := newServer()
		s.authenticate = c.challenge
		if c.before != nil {
			s.before = func(w http.ResponseWriter, r *http.Request) bool { return c.before(s, w, r) }
		}
		w := &world{hosts: map[string]http.Handler{
			"https://r.example":    s,
			"https://auth.example": http.RedirectHandler("https://127.0.0.1/token", http.StatusTemporaryRedirect),
			"https://127.0.0.1":    tokens("token"), "https://localhost": tokens("token"), "https://169.254.169.254": tokens("token"),
			"http://auth.example": tokens("token"),
		}}
		_, err := New(Options{Transport: w}).Resolve(t.Context(), parse(t, "r.example/o/r:t"), amd64)
		e, ok := errors.AsType[*image.RegistryError](err)
		if err == nil || ok != (c.is != image.ErrNotFound) || c.is != nil && !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.says) || ok && !strings.Contains(e.Hint, c.hint) || strings.Contains(err.Error(), "reached") {
			t.Errorf("%s: %#v; want %q and the hint %q", c.about, err, c.says, c.hint)
		}
		for _, r := range w.log {
			if h := r.URL.Hostname(); h != "r.example" && h != "auth.example" || r.URL.Scheme != "https" {
				t.Errorf("%s: a request went to %s", c.about, r.URL)
			}
		}
	}
}

// That plain http is spoken is no fault of a registry on this machine.
func TestPlainHTTPFails(t *testing.T) {
	broken := func(err error) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { refuse(w, err) })
	}
	w := &world{hosts: map[string]http.Handler{"https://127.0.0.1:5000": broken(http.ErrSchemeMismatch), "http://127.0.0.1:5000": broken(errors.New("broken"))}}
	_, err := New(Options{Transport: w}).Resolve(t.Context(), parse(t, "127.0.0.1:5000/o/r:t"), amd64)
	if _, ok := errors.AsType[*image.UnreachableError](err); !ok {
		t.Errorf("%v", err)
	}
}

// A registry on this machine may have its token service on any port of it.
func TestLoopbackTokens(t *testing.T) {
	for _, c := range []struct{ registry, service, redirect string }{
		{"127.0.0.1:5191", "127.0.0.1:5192", ""},
		{"127.0.0.1:5191", "127.0.0.1:5191", ""},
		{"127.0.0.1:5191", "127.0.0.1", ""},
		{"127.0.0.1:5191", "localhost:5192", ""},
		{"localhost:5191", "127.0.0.1:5192", ""},
		{"localhost:5191", "127.0.0.1:5191", ""},
		{"127.0.0.1:5191", "127.0.0.2:5191", ""},
		{"[::1]:5191", "[::1]:5192", ""},
		{"127.0.0.1:5191", "[::1]:5192", ""},
		{"127.0.0.1:5191", "127.0.0.1:5192", "http://127.0.0.1:5192/token"},
		{"127.0.0.1:5191", "127.0.0.1:5192", "/token"},
	} {
		realm := "/token"
		if c.redirect != "" {
			realm = "/elsewhere"
		}
		s := newServer()
		s.authenticate = `Bearer realm="http://` + c.service + realm + `",service="s"`
		service := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, password, _ := r.BasicAuth()
			switch {
			case r.Host != c.service:
				t.Errorf("%v: the token service is called %q", c, r.Host)
			case r.URL.Path == "/elsewhere":
				http.Redirect(w, r, c.redirect, http.StatusTemporaryRedirect)
			case r.URL.Path == "/token" && password == "p":
				tokens("token").ServeHTTP(w, r)
			default:
				s.ServeHTTP(w, r)
			}
		})
		w := &world{hosts: map[string]http.Handler{"http://" + c.registry: s, "http://" + c.service: service}}
		src := New(Options{Transport: w, Keychain: user("p")})
		ref := parse(t, c.registry+"/o/r:t")
		if _, err := src.Resolve(t.Context(), ref, amd64); err != nil {
			t.Errorf("%v: %v", c, err)
		}
		if _, err := readLayer(t, src, ref, s.imageLayer()); err != nil {
			t.Errorf("%v: %v", c, err)
		}
	}
}

// The same over sockets, and with nobody there.
func TestLoopbackTokenService(t *testing.T) {
	service := httptest.NewServer(tokens("token"))
	s := newServer()
	s.authenticate = `Bearer realm="` + service.URL + `/token"`
	reg := httptest.NewServer(s)
	defer reg.Close()
	ref := parse(t, reg.Listener.Addr().String()+"/o/r:t")
	if _, err := New(Options{}).Resolve(t.Context(), ref, amd64); err != nil {
		t.Error(err)
	}
	service.Close()
	_, err := New(Options{}).Resolve(t.Context(), ref, amd64)
	if e, ok := errors.AsType[*image.UnreachableError](err); !ok || e.Registry != service.Listener.Addr().String() {
		t.Errorf("no token service: %v", err)
	}
}

// Damage on the way is healed by asking again, once.
func TestDamagedDocuments(t *testing.T) {
	by := func(b []byte) string { return "@" + digest.FromBytes(b).String() }
	plain := newServer()
	index := newServer()
	index.index()
	for _, c := range []struct {
		about  string
		server *server
		ref    string
		part   []byte // the document that is damaged
		header bool   // it comes with its digest
		spoil  func([]byte) []byte
	}{
		{"manifest by tag", plain, ":t", plain.manifest, true, flip},
		{"manifest by tag, no JSON any more", plain, ":t", plain.manifest, false, func(b []byte) []byte { return b[1:] }},
		{"manifest by digest", plain, by(plain.manifest), plain.manifest, false, flip},
		{"manifest in an index", index, ":t", index.manifest, false, flip},
		{"config", plain, ":t", plain.config, false, flip},
	} {
		for times, ok := range map[int]bool{1: true, 2: false} {
			n := 0
			c.server.before = func(w http.ResponseWriter, r *http.Request) bool {
				b, found := c.server.document(r.URL.Path)
				if c.header && found {
					w.Header().Set("Docker-Content-Digest", digest.FromBytes(b).String())
				}
				if !found || string(b) != string(c.part) {
					return false
				}
				if n++; n > times {
					return false
				}
				b = c.spoil(b)
				if n == 2 {
					b = append(b[:len(b):len(b)], ' ') // not even the same damage
				}
				_, _ = w.Write(b)
				return true
			}
			w := &world{hosts: map[string]http.Handler{"https://r.example": c.server}}
			_, err := New(Options{Transport: w}).Resolve(t.Context(), parse(t, "r.example/o/r"+c.ref), amd64)
			if (err == nil) != ok || n != 2 {
				t.Errorf("%s: damaged %d times, asked for %d times: %v", c.about, times, n, err)
			}
			if !ok && !errors.Is(err, digest.ErrMismatch) && c.header {
				t.Errorf("%s: %v", c.about, err)
			}
		}
	}
}

// A registry that has its own idea of a manifest's digest is believed the manifest.
func TestWrongDigestHeader(t *testing.T) {
	s := newServer()
	s.before = func(w http.ResponseWriter, _ *http.Request) bool {
		w.Header().Set("Docker-Content-Digest", digest.FromBytes(nil).String())
		return false
	}
	w := &world{hosts: map[string]http.Handler{"https://r.example": s}}
	if _, err := New(Options{Transport: w}).Resolve(context.Background(), parse(t, "r.example/o/r:t"), amd64); err != nil {
		t.Error(err)
	}
}

func flip(b []byte) []byte {
	b = append([]byte(nil), b...)
	i := strings.LastIndex(string(b), "sha256:") + 10
	b[i] ^= 1 // a digit or letter becomes its neighbour
	return b
}
