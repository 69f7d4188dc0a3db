package spec

import (
	"encoding/csv"
	"io"
	"slices"
	"strconv"
	"strings"
)

// ParseMount reads --mount KEY=VALUE,…, with a CSV record's quotes, as docker
// does: "source=/a,b" in double quotes is one field. A key may be given once.
func ParseMount(s string) (Mount, error) {
	p := mountParser{Mount: Mount{Type: typeVolume}, seen: map[string]bool{}}
	fields, err := csvRecord(s)
	if err == nil {
		err = p.parse(fields)
	}
	if err == nil {
		err = p.finish()
	}
	if err != nil {
		return Mount{}, invalidf("mount %q: %v", s, err)
	}
	return p.Mount, nil
}

func csvRecord(s string) ([]string, error) {
	r := csv.NewReader(strings.NewReader(strings.TrimSpace(s)))
	fields, err := r.Read()
	if err == io.EOF {
		return nil, invalidf("empty; want type=bind,source=/src,target=/dst")
	}
	if err != nil {
		return nil, err
	}
	if _, err := r.Read(); err != io.EOF {
		return nil, invalidf("more than one line")
	}
	return fields, nil
}

type mountParser struct {
	Mount
	seen                map[string]bool // by a key's first spelling
	bind, volume, tmpfs string          // the first key that is for this type only
	recursive           string          // of bind-recursive
	size, mode          string          // of tmpfs, as options
}

func (p *mountParser) parse(fields []string) error {
	for _, field := range fields {
		key, value, hasValue := strings.Cut(field, "=")
		switch {
		case strings.TrimSpace(key) != key || strings.TrimSpace(value) != value:
			return invalidf("field %q: no spaces around = and commas", field)
		case hasValue && value == "":
			return invalidf("field %q: no value", field)
		}
		key = strings.ToLower(key)
		name := mountKey(key)
		if p.seen[name] {
			return invalidf("field %q: given before", field)
		}
		p.seen[name] = true
		if isMountSwitch(key) {
			if err := p.setSwitch(key, value); err != nil {
				return err
			}
			continue
		}
		if !hasValue {
			return invalidf("field %q: want KEY=VALUE", field)
		}
		if err := p.set(key, value); err != nil {
			return err
		}
	}
	return nil
}

// mountKey is the one spelling of a key that has several.
func mountKey(key string) string {
	switch key {
	case "src":
		return "source"
	case "dst", "destination":
		return "target"
	case "ro", "rro":
		return "readonly"
	case "chown":
		return "u"
	}
	return key
}

func isMountSwitch(key string) bool {
	switch key {
	case "readonly", "ro", "rro", "bind-nonrecursive", "bind-create-src", "volume-nocopy", "u", "chown":
		return true
	}
	return false
}

// setSwitch sets what is true when it stands alone.
func (p *mountParser) setSwitch(key, value string) error {
	on := value == ""
	if !on {
		var err error
		if on, err = strconv.ParseBool(value); err != nil {
			return invalidf("%s=%s: want true or false", key, value)
		}
	}
	switch key {
	case "readonly", "ro", "rro":
		p.ReadOnly = on
	case "bind-nonrecursive":
		p.bind, p.NonRecursive = key, on
	case "bind-create-src":
		p.bind, p.CreateSource = key, on
	case "volume-nocopy":
		p.volume, p.NoCopy = key, on
	case "u", "chown":
		p.Chown = on
	}
	return nil
}

func (p *mountParser) set(key, value string) error {
	switch key {
	case "type":
		return p.setType(strings.ToLower(value))
	case "source", "src":
		p.Source = value
	case "target", "dst", "destination":
		p.Target = value
	case "consistency":
		return oneOf(key, value, "default", "consistent", "cached", "delegated")
	case "bind-propagation":
		p.bind, p.Propagation = key, strings.ToLower(value)
		if !isPropagation(p.Propagation) {
			return invalidf("%s=%s: want private, slave, shared, rprivate, rslave or rshared", key, value)
		}
	case "bind-recursive":
		p.bind, p.recursive = key, value
		return oneOf(key, value, "enabled", "disabled", "writable", "readonly")
	case "volume-subpath":
		p.volume, p.Subpath = key, value
	case "volume-driver":
		p.volume = key
		return oneOf(key, value, "local")
	case "tmpfs-size", "tmpfs-mode":
		return p.setTmpfs(key, value)
	case "volume-opt", "volume-label", "image-subpath", "relabel", "idmap":
		return invalidf("%s is not supported", key)
	default:
		return invalidf("%q: unknown key", key)
	}
	return nil
}

func (p *mountParser) setTmpfs(key, value string) error {
	p.tmpfs = key
	if key == "tmpfs-size" {
		n, err := ParseBytes(value)
		p.size = "size=" + strconv.FormatInt(n, 10)
		return err
	}
	n, err := strconv.ParseUint(value, 8, 32)
	if err != nil || n > 0o7777 {
		return invalidf("%s=%s: want an octal number, as in 1777", key, value)
	}
	p.mode = "mode=" + strconv.FormatUint(n, 8)
	return nil
}

func (p *mountParser) setType(value string) error {
	p.Type = value
	switch value {
	case typeBind, typeVolume, typeTmpfs:
		return nil
	case "image", "cluster", "npipe", "devpts", "glob", "ramfs", "artifact":
		return invalidf("type %s is not supported: want bind, volume or tmpfs", value)
	}
	return invalidf("type %q: want bind, volume or tmpfs", value)
}

func oneOf(key, value string, want ...string) error {
	if slices.Contains(want, value) {
		return nil
	}
	return invalidf("%s=%s: want %s", key, value, strings.Join(want, ", "))
}

// finish checks what depends on several fields.
func (p *mountParser) finish() error {
	for _, x := range []struct{ key, of string }{{p.bind, typeBind}, {p.volume, typeVolume}, {p.tmpfs, typeTmpfs}} {
		if x.key != "" && x.of != p.Type {
			return invalidf("%s is for type=%s, and the type is %s", x.key, x.of, p.Type)
		}
	}
	if p.Target == "" {
		return invalidf("target: missing")
	}
	if err := p.finishRecursive(); err != nil {
		return err
	}
	if p.Type == typeTmpfs {
		return p.finishTmpfs()
	}
	return p.check()
}

// finishRecursive: docker's read-only takes in the mounts beneath where the
// kernel can (5.12), and umiak always, so that readonly adds nothing to it.
func (p *mountParser) finishRecursive() error {
	switch {
	case p.recursive != "" && p.seen["bind-nonrecursive"]:
		return invalidf("bind-recursive and bind-nonrecursive exclude each other")
	case (p.recursive == "writable" || p.recursive == "readonly") && !p.ReadOnly:
		return invalidf("bind-recursive=%s: want readonly with it", p.recursive)
	case p.recursive == "readonly" && p.Propagation != "" && p.Propagation != "rprivate":
		return invalidf("bind-recursive=readonly: want bind-propagation=rprivate with it")
	}
	p.ReadOnlyTop = p.recursive == "writable"
	p.NonRecursive = p.NonRecursive || p.recursive == "disabled"
	return nil
}

func (p *mountParser) finishTmpfs() error {
	if p.Source != "" || p.Chown {
		return invalidf("a tmpfs has no source")
	}
	for _, o := range []string{p.mode, p.size} {
		if o != "" && o != "size=0" { // 0 is docker's word for none given
			p.Options = append(p.Options, o)
		}
	}
	return p.check()
}
