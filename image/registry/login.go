package registry

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/umiak/umiak/image"
)

// login finds out which scheme and which credentials the registry wants and gets
// a token if it takes tokens.
func (r *Registry) login(ctx context.Context, repo *repository) error {
	host := repo.ref.Registry
	newRegistry := name.NewRegistry
	if isLoopback(host) {
		newRegistry = name.NewInsecureRegistry // https first, then http
	}
	reg, err := newRegistry(host)
	if err != nil {
		return err
	}
	ctx = onBehalfOf(ctx, host)
	challenge, err := transport.Ping(ctx, reg, r.base)
	if err != nil {
		return repo.loginError(err)
	}
	target := reg.Repo(repo.ref.Repository)
	auth, err := r.credentials(ctx, target, challenge)
	if err != nil {
		return err
	}
	repo.detour, challenge.Parameters = detour{inner: r.base}, maps.Clone(challenge.Parameters)
	if strings.EqualFold(challenge.Scheme, "bearer") {
		if challenge.Parameters["realm"] == "" {
			return &image.RegistryError{Registry: host, Err: errors.New("it wants a token and does not say where to get one")}
		}
		repo.detour, challenge.Parameters["realm"] = newDetour(r.base, reg.RegistryStr(), challenge.Parameters["realm"])
	}
	token, err := exchange(ctx, reg, auth, repo.detour, target.Scope(transport.PullScope), challenge)
	if err != nil {
		return repo.loginError(err)
	}
	rt, err := transport.FromToken(reg, auth, repo.detour, challenge, token)
	if err != nil {
		return repo.loginError(err)
	}
	scheme := "https"
	if challenge.Insecure {
		scheme = "http"
	}
	repo.client = &http.Client{Transport: rt, CheckRedirect: checkRedirect}
	repo.url = fmt.Sprintf("%s://%s/v2/%s", scheme, reg.RegistryStr(), repo.ref.Repository)
	return nil
}

// credentials are what the keychain has for target, or none if the registry wants
// them sent somewhere they don't belong: whoever answers a ping names the token
// service, and that address has been used to collect passwords (CVE-2026-48978,
// CVE-2026-33540).
func (r *Registry) credentials(ctx context.Context, target name.Repository, c *transport.Challenge) (authn.Authenticator, error) {
	auth, err := authn.Resolve(ctx, r.keys, target)
	if err != nil {
		r.warn(fmt.Sprintf("no credentials for %s, trying without: %v", target.RegistryStr(), err))
		return authn.Anonymous, nil
	}
	if auth == authn.Anonymous || !strings.EqualFold(c.Scheme, "bearer") {
		return auth, nil
	}
	realm, err := url.Parse(c.Parameters["realm"])
	if err != nil || !related(target.RegistryStr(), realm.Host) {
		r.warn(fmt.Sprintf("%s wants credentials sent to %q, which is another's; trying without", target.RegistryStr(), c.Parameters["realm"]))
		return authn.Anonymous, nil
	}
	return auth, nil
}

// exchange gets the first token. FromToken's transport gets those that follow.
func exchange(ctx context.Context, reg name.Registry, auth authn.Authenticator, t http.RoundTripper, scope string, c *transport.Challenge) (*transport.Token, error) {
	if !strings.EqualFold(c.Scheme, "bearer") {
		return &transport.Token{}, nil
	}
	cfg, err := authn.Authorization(ctx, auth)
	if err != nil {
		return nil, err
	}
	if cfg.RegistryToken != "" {
		return &transport.Token{Token: cfg.RegistryToken}, nil
	}
	token, err := transport.Exchange(ctx, reg, auth, t, []string{scope}, c)
	if err != nil {
		return nil, err
	}
	if token.Token == "" {
		token.Token = token.AccessToken // some services use OAuth2's name only
	}
	return token, nil
}

// related tells whether the token service at realm may see the credentials of
// registry: the same host, or one under the same registered domain. Without the
// list of public suffixes the latter is guessed from the last two labels, three
// where the last two look like co.uk.
func related(registry, realm string) bool {
	a, b := hostname(registry), hostname(realm)
	if a == b {
		return true
	}
	// Red Hat's token service is the one known under an unrelated domain.
	if strings.HasSuffix(a, ".redhat.io") && b == "sso.redhat.com" {
		return true
	}
	if isLoopback(registry) && isLoopback(realm) {
		return true
	}
	d := domain(a)
	return d != "" && d == domain(b)
}

func domain(host string) string {
	if _, err := netip.ParseAddr(host); err == nil {
		return ""
	}
	labels := strings.Split(host, ".")
	n := 2
	if len(labels) > 2 && len(labels[len(labels)-1]) == 2 && len(labels[len(labels)-2]) <= 3 {
		n = 3
	}
	if len(labels) < n {
		return ""
	}
	return strings.Join(labels[len(labels)-n:], ".")
}

func hostname(hostport string) string {
	u := url.URL{Host: hostport}
	return strings.ToLower(u.Hostname())
}

// isLoopback tells whether host[:port] is this machine for certain. Names under
// .localhost are not: not every resolver knows what they mean.
func isLoopback(hostport string) bool {
	host := hostname(hostport)
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}
