package registry

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
)

// keys is a keychain with the same credentials for everybody: whether they are
// sent is then up to the code.
type keys struct{ authn.AuthConfig }

func (k keys) Resolve(authn.Resource) (authn.Authenticator, error) {
	return authn.FromConfig(k.AuthConfig), nil
}

func user(password string) keys { return keys{authn.AuthConfig{Username: "u", Password: password}} }

func tokens(field string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintf(w, `{%q: "t0ken"}`, field) })
}

// Credentials go to the registry and its own token service, and nowhere else.
func TestCredentials(t *testing.T) {
	user := user("p")
	bearer := func(realm string) string { return fmt.Sprintf(`Bearer realm=%q,service="s"`, realm) }
	for _, c := range []struct {
		about, challenge, blobs string
		keys                    authn.Keychain
		want                    []string
		warns                   string
	}{
		{"anonymous", "", "", nil, nil, ""},
		{"basic", `Basic realm="x"`, "", user, []string{"https://r.example.org"}, ""},
		{"token, anonymous", bearer("https://r.example.org/token"), "", nil, []string{"https://r.example.org"}, ""},
		{"token from the same host", bearer("https://r.example.org/token"), "", user, []string{"https://r.example.org"}, ""},
		{"token from a sibling", bearer("https://auth.example.org/token"), "", user, []string{"https://auth.example.org", "https://r.example.org"}, ""},
		{"token from a stranger", bearer("https://evil.example.com/token"), "", user, []string{"https://r.example.org"}, "evil.example.com"},
		{"blobs elsewhere, basic", `Basic realm="x"`, "https://evil.example.com/blob", user, []string{"https://r.example.org"}, ""},
		{"blobs elsewhere, token", bearer("https://r.example.org/token"), "https://evil.example.com/blob", user, []string{"https://r.example.org"}, ""},
		{"blobs at a sibling", `Basic realm="x"`, "https://auth.example.org/blob", user, []string{"https://r.example.org"}, ""},
		{"identity token", bearer("https://r.example.org/token"), "", keys{authn.AuthConfig{IdentityToken: "i"}}, []string{"https://r.example.org"}, ""},
		{"registry token", bearer("https://evil.example.com/token"), "", keys{authn.AuthConfig{RegistryToken: "r"}}, []string{"https://r.example.org"}, "evil"},
	} {
		s := newServer()
		s.authenticate = c.challenge
		elsewhere := newServer()
		elsewhere.before = func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path == "/token" {
				tokens("access_token").ServeHTTP(w, r)
			} else {
				_, _ = w.Write(s.layer)
			}
			return true
		}
		s.before = func(w http.ResponseWriter, r *http.Request) bool {
			return c.blobs != "" && strings.HasSuffix(r.URL.Path, s.imageLayer().Digest.String()) && redirect(w, r, c.blobs)
		}
		home := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/token" {
				tokens("token").ServeHTTP(w, r)
				return
			}
			s.ServeHTTP(w, r)
		})
		w := &world{hosts: map[string]http.Handler{"https://r.example.org": home, "https://auth.example.org": elsewhere, "https://evil.example.com": elsewhere}}
		var warned []string
		src := New(Options{Transport: w, Keychain: c.keys, Warn: func(s string) { warned = append(warned, s) }})
		ref := parse(t, "r.example.org/o/r:t")
		if _, err := src.Resolve(t.Context(), ref, amd64); err != nil {
			t.Errorf("%s: %v", c.about, err)
		}
		if _, err := readLayer(t, src, ref, s.imageLayer()); err != nil {
			t.Errorf("%s: %v", c.about, err)
		}
		if got := w.authorized(); !slices.Equal(got, c.want) {
			t.Errorf("%s: credentials went to %v, want %v", c.about, got, c.want)
		}
		if got := strings.Join(warned, "; "); c.warns == "" && got != "" || !strings.Contains(got, c.warns) {
			t.Errorf("%s: warned %q, want %q", c.about, got, c.warns)
		}
	}
}

// Plain http leaves no other machine, whoever asks for it; and no registry sends us
// to this one.
func TestRefused(t *testing.T) {
	page := func(to string) http.Handler {
		s := newServer()
		s.before = func(w http.ResponseWriter, r *http.Request) bool { return redirect(w, r, to) }
		return s
	}
	for _, c := range []struct {
		about, ref string
		hosts      map[string]http.Handler
		says       string
	}{
		{"a private address", "10.0.0.1:5000/o/r:t", map[string]http.Handler{"http://10.0.0.1:5000": newServer()}, "10.0.0.1:5000 cannot be reached"},
		{"a name that ends in localhost", "x.localhost:5000/o/r:t", map[string]http.Handler{"http://x.localhost:5000": newServer()}, "cannot be reached"},
		{"a redirect to http", "r.example/o/r:t", map[string]http.Handler{"https://r.example": page("http://b.example/x")}, "refused to speak plain http with b.example"},
		{"the same from this machine", "127.0.0.1:5000/o/r:t", map[string]http.Handler{"http://127.0.0.1:5000": page("http://b.example/x")}, "refused to speak plain http with b.example"},
		{"a redirect to this machine", "r.example/o/r:t", map[string]http.Handler{"https://r.example": page("http://127.0.0.1/x"), "http://127.0.0.1": newServer()}, "refused to be sent to 127.0.0.1"},
		{"a ping that is redirected here", "r.example/o/r:t", map[string]http.Handler{"https://r.example": http.RedirectHandler("https://localhost/v2/", 307), "https://localhost": newServer()}, "refused to be sent to localhost"},
	} {
		w := &world{hosts: c.hosts}
		_, err := New(Options{Transport: w}).Resolve(t.Context(), parse(t, c.ref), amd64)
		if err == nil || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v; want %q", c.about, err, c.says)
		}
		for _, r := range w.log {
			if r.URL.Scheme == "http" && !isLoopback(r.URL.Host) || isLoopback(r.URL.Host) && !strings.HasPrefix(c.ref, "127.") {
				t.Errorf("%s: a request went to %s", c.about, r.URL)
			}
		}
	}
}

func TestPlainHTTPOnLoopback(t *testing.T) {
	for _, host := range []string{"127.0.0.1:5000", "127.8.8.8:5000", "localhost:5000", "[::1]:5000", "localhost"} {
		other := newServer()
		s := newServer()
		s.before = func(w http.ResponseWriter, r *http.Request) bool {
			return strings.HasSuffix(r.URL.Path, s.imageLayer().Digest.String()) && redirect(w, r, "http://127.0.0.1:6000"+r.URL.Path)
		}
		src := New(Options{Transport: &world{hosts: map[string]http.Handler{"http://" + host: s, "http://127.0.0.1:6000": other}}})
		ref := parse(t, host+"/o/r:t")
		if _, err := src.Resolve(t.Context(), ref, amd64); err != nil {
			t.Errorf("%s: %v", host, err)
		}
		if _, err := readLayer(t, src, ref, s.imageLayer()); err != nil {
			t.Errorf("%s, redirected: %v", host, err)
		}
	}
}

func TestRelated(t *testing.T) {
	for _, c := range []struct {
		registry, realm string
		want            bool
	}{
		{name.DefaultRegistry, "auth.docker.io", true},
		{"registry.gitlab.com", "gitlab.com", true},
		{"ghcr.io", "ghcr.io", true},
		{"ghcr.io", "GHCR.io:443", true},
		{"registry.redhat.io", "sso.redhat.com", true},
		{"r.example.co.uk", "auth.example.co.uk", true},
		{"r.example.co.uk", "evil.co.uk", false},
		{"example.org", "example.org.evil.com", false},
		{"ghcr.io", "evil.io", false},
		{"10.0.0.1:5000", "10.0.0.2", false},
		{"10.0.0.1:5000", "10.0.0.1:5001", true},
		{"127.0.0.1:5000", "localhost:5001", true},
		{"intranet", "evil", false},
		{"intranet:5000", "intranet", true},
	} {
		if got := related(c.registry, c.realm); got != c.want {
			t.Errorf("related(%s, %s) = %v", c.registry, c.realm, got)
		}
	}
}
