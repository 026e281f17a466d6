"""Finds what of CUDA is on this machine and says where the program has to look.

The program loads the driver and the kernel compiler (NVRTC) when it runs and gives NVRTC the CUDA
headers below CUDA_PATH. Both may lie in a toolkit, or in wheels of Python packages, where a folder
has only a part of them."""

import glob
import os
import site
import subprocess
import sys

NEEDED = ("cuda_runtime.h", "cuda_fp16.h")
LIBRARY_FOLDERS = ("lib64", "lib", "targets/x86_64-linux/lib")


def wheels(extra=()):
    """The folders nvidia/* of all Python packages, those of the `python3` on the path too: the one
    that runs this may be another."""
    folders = list(extra) + sys.path + site.getsitepackages() + [site.getusersitepackages()]
    try:
        asked = subprocess.run(["python3", "-c", "import sys; print('\\n'.join(sys.path))"],
                               capture_output=True, text=True, timeout=60)
        folders += asked.stdout.splitlines()
    except (OSError, subprocess.TimeoutExpired):
        pass
    found = []
    for folder in dict.fromkeys(folders):
        found += sorted(glob.glob(os.path.join(folder, "nvidia", "*")))
    return [folder for folder in found if os.path.isdir(folder)]


def toolkits():
    named = [os.environ["CUDA_PATH"]] if os.environ.get("CUDA_PATH") else []
    usual = ["/usr/local/cuda", "/opt/cuda"] + sorted(glob.glob("/usr/local/cuda-*"), reverse=True)
    return [folder for folder in named + usual if os.path.isdir(folder)]


def libraries(roots, name):
    """Folders with a library of this name, as the program opens it: `libnvrtc.so` or `libnvrtc.so.13`."""
    found = []
    for root in roots:
        for below in LIBRARY_FOLDERS:
            folder = os.path.join(root, below)
            names = glob.glob(os.path.join(folder, name)) + glob.glob(os.path.join(folder, name + ".*"))
            if names:
                found.append((folder, newest(names)))
    return found


def newest(names):
    """The greatest major version among names that end in `.so.N`; 0 where none does."""
    ends = [name.rsplit(".so.", 1)[-1] for name in names if ".so." in name]
    return max((int(end) for end in ends if end.isdigit()), default=0)


def headers(roots, where):
    """The root whose `include` has all headers; if no folder has, one of links to all of them."""
    folders = [os.path.join(root, "include") for root in roots]
    folders = [folder for folder in folders if os.path.isdir(folder)]
    for folder in folders:
        complete = all(os.path.isfile(os.path.join(folder, name)) for name in NEEDED)
        # Parts of the C++ library that some kernels include; toolkits have them in a folder of their own.
        if complete and any(os.path.isdir(os.path.join(folder, part)) for part in ("cccl", "cuda")):
            return os.path.dirname(folder)
    target = os.path.join(where, "include")
    os.makedirs(target, exist_ok=True)
    for folder in folders:
        for name in os.listdir(folder):
            link = os.path.join(target, name)
            if not os.path.lexists(link):
                os.symlink(os.path.join(folder, name), link)
    complete = all(os.path.isfile(os.path.join(target, name)) for name in NEEDED)
    return where if complete else None


def environment(where, roots=None):
    """Variables for the program, and what was found, in words. `where` is a folder for links."""
    roots = toolkits() + wheels() if roots is None else roots
    compilers = sorted(libraries(roots, "libnvrtc.so"), key=lambda found: -found[1])
    root = headers(roots, where)
    variables = {}
    if root:
        variables["CUDA_PATH"] = root
    if compilers:
        before = os.environ.get("LD_LIBRARY_PATH")
        folders = list(dict.fromkeys(folder for folder, _ in compilers))
        variables["LD_LIBRARY_PATH"] = ":".join(folders + ([before] if before else []))
    words = "NVRTC: %s; headers: %s" % (compilers[0][0] if compilers else "by the loader alone",
                                        root or "not found")
    return variables, words


def smi(query):
    """What nvidia-smi says of the first card; None without one."""
    try:
        asked = subprocess.run(["nvidia-smi", "--query-gpu=" + query, "--format=csv,noheader"],
                               capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    lines = asked.stdout.strip().splitlines()
    return lines[0].strip() if asked.returncode == 0 and lines else None
