# Compiles a profile with libseccomp as runc does (matchCall in libcontainer/seccomp), and writes the filter.
# Standard input: {"profile": <OCI seccomp object>, "archs": [names as libseccomp's, native first]}.
# Standard output: JSON with the filter in hex, and the names that this libseccomp knows of those in the profile.
import ctypes, json, os, sys, tempfile

lib = ctypes.CDLL("libseccomp.so.2")
lib.seccomp_init.restype = ctypes.c_void_p
lib.seccomp_init.argtypes = [ctypes.c_uint32]
for f in ("seccomp_arch_add", "seccomp_arch_remove"):
    getattr(lib, f).argtypes = [ctypes.c_void_p, ctypes.c_uint32]
lib.seccomp_attr_set.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_uint32]
lib.seccomp_export_bpf.argtypes = [ctypes.c_void_p, ctypes.c_int]


class Cmp(ctypes.Structure):
    _fields_ = [("arg", ctypes.c_uint), ("op", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64)]


lib.seccomp_rule_add_array.argtypes = [ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int, ctypes.c_uint, ctypes.POINTER(Cmp)]

ARCH = {"SCMP_ARCH_X86": 0x40000003, "SCMP_ARCH_X86_64": 0xC000003E, "SCMP_ARCH_X32": 0x4000003E,
        "SCMP_ARCH_ARM": 0x40000028, "SCMP_ARCH_AARCH64": 0xC00000B7}
OPS = {"SCMP_CMP_" + op: i + 1 for i, op in enumerate(["NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"])}
ACT = {"ALLOW": 0x7FFF0000, "LOG": 0x7FFC0000, "TRACE": 0x7FF00000, "ERRNO": 0x50000, "TRAP": 0x30000, "KILL": 0,
       "KILL_THREAD": 0, "KILL_PROCESS": 0x80000000}


def action(name, errno):
    name = name.removeprefix("SCMP_ACT_")
    return ACT[name] | ((1 if errno is None else errno) if name in ("ERRNO", "TRACE") else 0)


def main():
    q = json.load(sys.stdin)
    p = q["profile"]
    default = action(p["defaultAction"], p.get("defaultErrnoRet"))
    ctx = lib.seccomp_init(default)
    native = 0xC000003E  # the machine's, which libseccomp adds by itself
    archs = [ARCH[a] for a in q["archs"]]
    for a in archs:
        if a != native:
            assert lib.seccomp_arch_add(ctx, a) == 0
    if native not in archs:
        assert lib.seccomp_arch_remove(ctx, native) == 0
    known, errors = [], []
    for s in p.get("syscalls") or []:
        act = action(s["action"], s.get("errnoRet"))
        args = [Cmp(a["index"], OPS[a["op"]], a["value"], a.get("valueTwo", 0)) for a in s.get("args") or []]
        repeated = len({a.arg for a in args}) < len(args)
        for name in s["names"]:
            nr = lib.seccomp_syscall_resolve_name(name.encode())
            if nr == -1:
                continue
            known.append(name)
            if act == default:
                continue
            for conds in [[a] for a in args] if repeated else [args]:
                rc = lib.seccomp_rule_add_array(ctx, act, nr, len(conds), (Cmp * len(conds))(*conds))
                if rc != 0:
                    errors.append([name, rc])
    with tempfile.TemporaryFile() as f:
        assert lib.seccomp_export_bpf(ctx, f.fileno()) == 0
        f.seek(0)
        json.dump({"filter": f.read().hex(), "known": known, "errors": errors}, sys.stdout)


main()
