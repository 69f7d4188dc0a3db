package registry

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
)

// The helper says who it was asked for.
const helper = `#!/bin/sh
read server
case "$1 $server" in
"get none.example") echo "credentials not found in native keychain"; exit 1;;
"get locked.example") echo "the keyring is locked"; exit 1;;
"get token.example") echo '{"Username":"<token>","Secret":"id"}';;
"get odd.example") echo 'hello';;
*) echo "{\"ServerURL\":\"$server\",\"Username\":\"helped\",\"Secret\":\"$server\"}";;
esac
`

func TestKeychain(t *testing.T) {
	if _, err := os.Stat("/bin/sh"); err != nil {
		t.Skip("needs /bin/sh")
	}
	bin := t.TempDir()
	if err := os.WriteFile(filepath.Join(bin, "docker-credential-test"), []byte(helper), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	const auths = `{"auths":{
		"r.example":{"auth":"dTpw"}, "r.example/o":{"username":"o","password":"po"}, "r.example/o/r":{"auth":"cjpwcg=="},
		"https://old.example/v1/":{"auth":"dTpw"}, "https://index.docker.io/v1/":{"auth":"aDpw"},
		"id.example":{"identitytoken":"it"}, "reg.example":{"registrytoken":"rt"}, "empty.example":{}}`
	for _, c := range []struct{ config, repo, want, warns string }{
		{auths + "}", "r.example/x/y", "u:p", ""},
		{auths + "}", "r.example/o/y", "o:po", ""},
		{auths + "}", "r.example/o/r", "r:pr", ""},
		{auths + "}", "r.example:443/o/r", "", ""},
		{auths + "}", "old.example/x/y", "u:p", ""},
		{auths + "}", "library/alpine", "h:p", ""},
		{auths + "}", "id.example/x/y", "identity it", ""},
		{auths + "}", "reg.example/x/y", "registry rt", ""},
		{auths + "}", "empty.example/x/y", "", ""},
		{auths + "}", "evil.example/r.example/o", "", ""},
		{`{"auths":{"docker.io":{"auth":"aDpw"}}}`, "library/alpine", "h:p", ""},
		{`{"credsStore":"test"}`, "h.example/x/y", "helped:h.example", ""},
		{`{"credsStore":"test"}`, "library/alpine", "helped:https://index.docker.io/v1/", ""},
		{`{"credsStore":"test"}`, "none.example/x/y", "", ""},
		{`{"credsStore":"test"}`, "token.example/x/y", "identity id", ""},
		{`{"credsStore":"test"}`, "locked.example/x/y", "", "the keyring is locked"},
		{`{"credsStore":"test"}`, "odd.example/x/y", "", "docker-credential-test"},
		{`{"credHelpers":{"h.example":"test"},"credsStore":"missing"}`, "h.example/x/y", "helped:h.example", ""},
		{`{"credsStore":"missing"}`, "h.example/x/y", "", "docker-credential-missing"},
		{`{"credsStore":"../../bin/sh"}`, "h.example/x/y", "", "not the name"},
		{auths + `,"credsStore":"missing"}`, "r.example/o/r", "r:pr", "docker-credential-missing"},
		{`{`, "h.example/x/y", "", "config.json"},
		{"", "h.example/x/y", "", ""},
	} {
		dir := t.TempDir()
		if c.config != "" {
			if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(c.config), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		repo, err := name.NewRepository(c.repo)
		if err != nil {
			t.Fatal(err)
		}
		var warned []string
		auth, err := authn.Resolve(t.Context(), Keychain(dir, func(s string) { warned = append(warned, s) }), repo)
		if err != nil {
			t.Errorf("%s for %s: %v", c.config, c.repo, err)
			continue
		}
		cfg, err := auth.Authorization()
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		switch {
		case cfg.IdentityToken != "":
			got = "identity " + cfg.IdentityToken
		case cfg.RegistryToken != "":
			got = "registry " + cfg.RegistryToken
		case cfg.Username != "":
			got = cfg.Username + ":" + cfg.Password
		}
		if got != c.want {
			t.Errorf("%s for %s: got %q, want %q", c.config, c.repo, got, c.want)
		}
		if w := strings.Join(warned, "; "); c.warns == "" && w != "" || !strings.Contains(w, c.warns) {
			t.Errorf("%s for %s: warned %q, want %q", c.config, c.repo, w, c.warns)
		}
	}
}

// Without a home there are no credentials, whatever lies about.
func TestNoDirectory(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.WriteFile("config.json", []byte(`{"auths":{"r.example":{"auth":"dTpw"}}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	repo, err := name.NewRepository("r.example/o/r")
	if err != nil {
		t.Fatal(err)
	}
	if auth, err := authn.Resolve(t.Context(), Keychain("", nil), repo); err != nil || auth != authn.Anonymous {
		t.Errorf("found %v, %v", auth, err)
	}
}
