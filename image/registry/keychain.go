package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
)

// Keychain finds credentials where docker login left them: in dir/config.json, or
// with the helper program that it names.
//
// go-containerregistry's own keychain fails a public image when a helper does.
// Here whatever goes wrong is a warning, and the registry is tried without. No dir
// is no credentials.
func Keychain(dir string, warn func(string)) authn.Keychain {
	k := &keychain{warn: warn, timeout: helperTimeout}
	if k.warn == nil {
		k.warn = func(string) {}
	}
	path := filepath.Join(dir, "config.json")
	k.load = sync.OnceValue(func() *dockerConfig {
		if dir == "" {
			return &dockerConfig{} // and not a file of the directory that we happen to be in
		}
		c, err := loadConfig(path)
		if err != nil {
			k.warn(fmt.Sprintf("no credentials used: reading %s: %v", path, err))
		}
		return c
	})
	return k
}

type keychain struct {
	warn    func(string)
	load    func() *dockerConfig
	timeout time.Duration
}

// dockerConfig is the part of docker's config.json that is about credentials.
type dockerConfig struct {
	Auths       map[string]authn.AuthConfig `json:"auths"`
	CredsStore  string                      `json:"credsStore"`
	CredHelpers map[string]string           `json:"credHelpers"`
}

// loadConfig never returns nil; no file is an empty one.
func loadConfig(path string) (*dockerConfig, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return &dockerConfig{}, nil
	}
	var c dockerConfig
	if err == nil {
		err = json.Unmarshal(b, &c)
	}
	if err != nil {
		return &dockerConfig{}, err
	}
	return &c, nil
}

// Resolve implements authn.Keychain.
func (k *keychain) Resolve(target authn.Resource) (authn.Authenticator, error) {
	return k.ResolveContext(context.Background(), target)
}

// ResolveContext lets a helper be interrupted.
func (k *keychain) ResolveContext(ctx context.Context, target authn.Resource) (authn.Authenticator, error) {
	c := k.load()
	host := target.RegistryStr()
	key := host
	if host == name.DefaultRegistry {
		key = authn.DefaultAuthKey // docker's own registry goes by an old URL
	}
	helper := c.CredHelpers[host]
	if helper == "" {
		helper = c.CredHelpers[key]
	}
	if helper == "" {
		helper = c.CredsStore
	}
	if helper != "" {
		auth, err := k.ask(ctx, helper, key)
		if err != nil {
			k.warn(fmt.Sprintf("no credentials for %s: %v", host, err))
		}
		if auth != nil {
			return authn.FromConfig(*auth), nil
		}
	}
	auth, ok := c.lookup(target.String(), key)
	if rest, hub := strings.CutPrefix(target.String(), name.DefaultRegistry); hub && !ok {
		auth, ok = c.lookup("docker.io"+rest, key) // podman's name for it
	}
	if !ok {
		return authn.Anonymous, nil
	}
	return authn.FromConfig(auth), nil
}

// lookup finds the most specific entry: of the repository, of a part of its path,
// of the host. Old versions of docker wrote URLs as keys.
func (c *dockerConfig) lookup(repository, host string) (authn.AuthConfig, bool) {
	for path := repository; ; {
		if a, ok := c.Auths[path]; ok && a != (authn.AuthConfig{}) {
			return a, true
		}
		i := strings.LastIndexByte(path, '/')
		if i < 0 {
			break
		}
		path = path[:i]
	}
	bare := bareHost(host)
	for key, a := range c.Auths {
		if bareHost(key) == bare && strings.Contains(key, "://") && a != (authn.AuthConfig{}) {
			return a, true
		}
	}
	return authn.AuthConfig{}, false
}

func bareHost(key string) string {
	if _, rest, ok := strings.Cut(key, "://"); ok {
		key = rest
	}
	host, _, _ := strings.Cut(key, "/")
	return host
}
