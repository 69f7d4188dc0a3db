package registry

import (
	"net"
	"net/http"
	"net/url"
)

// A detour lets a registry on this machine have its token service on another port
// of this machine. go-containerregistry's transport refuses any such address, lest
// a registry elsewhere has us call at services that it can't reach itself (its issue
// 2258); guard sees to that too, and knows where the registry is. So that transport
// is told another name, and the detour takes it to where that is.
//
// The zero value takes nothing anywhere.
type detour struct {
	inner     http.RoundTripper
	alias, to string // host[:port]
}

// newDetour is for the token service at realm, if it's such a one. It returns the
// realm to tell.
func newDetour(inner http.RoundTripper, registry, realm string) (detour, string) {
	u, err := url.Parse(realm)
	if err != nil || u.Host == registry || !isLoopback(registry) || !isLoopback(u.Host) {
		return detour{inner: inner}, realm
	}
	d := detour{inner: inner, alias: "token-service.localhost", to: u.Host}
	if port := u.Port(); port != "" {
		d.alias = net.JoinHostPort(d.alias, port)
	}
	u.Host = d.alias
	return d, u.String()
}

func (d detour) RoundTrip(req *http.Request) (*http.Response, error) {
	if d.alias == "" || req.URL.Host != d.alias {
		return d.inner.RoundTrip(req)
	}
	there := req.Clone(req.Context())
	there.URL.Host, there.Host = d.to, d.to
	resp, err := d.inner.RoundTrip(there)
	if err != nil {
		return nil, err
	}
	if u, err := resp.Location(); err == nil && u.Host == d.to {
		u.Host = d.alias
		resp.Header.Set("Location", u.String())
	}
	return resp, nil
}
