#!/bin/bash
# Runs the bf16 products of `--compute bf16` where they are instructions (AVX-512 BF16): on the Sapphire Rapids that Bochs 3
# emulates, under a Linux of few parts. For machines whose own processor has none.
#
# usage: bf16_machine.sh BOCHS BUILD WORK
#
# BOCHS is Bochs 3 (Debian 12's 2.7 knows no bf16), built from its sources by
#   ./configure --enable-x86-64 --enable-cpu-level=6 --enable-avx --enable-evex --enable-pci --with-nogui && make
# BUILD holds `anemone` and `tests/unit/clip/clip_test`, WORK is a new folder. Needs Debian's linux-source-6.1, flex, bison, bc,
# libelf-dev, isolinux, syslinux-common, xorriso, cpio, busybox-static, bochsbios and vgabios. Takes some six minutes on two
# cores. Prints what the test and two calls of `infer` print, bf16 and fp32, and which of oneDNN's kernels they ran.
set -euo pipefail
bochs=$(realpath -e "$1") build=$(realpath -e "$2") here=$(cd "$(dirname "$0")/.." && pwd)
mkdir -p "$3" && cd "$3"

# A kernel without modules, many processors or ACPI.
if [ ! -f linux-source-6.1/arch/x86/boot/bzImage ]; then
  tar xf /usr/src/linux-source-6.1.tar.xz
  cd linux-source-6.1
  make -s tinyconfig
  for option in 64BIT BLK_DEV_INITRD BINFMT_ELF BINFMT_SCRIPT PRINTK TTY SERIAL_8250 SERIAL_8250_CONSOLE PROC_FS SYSFS SHMEM TMPFS \
    DEVTMPFS FUTEX EPOLL EVENTFD POSIX_TIMERS FILE_LOCKING ADVISE_SYSCALLS MEMBARRIER MULTIUSER; do scripts/config -e $option; done
  make -s olddefconfig
  make -s -j"$(nproc)" bzImage
  cd ..
fi

# The programs, what they are linked to, and what they open.
rm -rf root
mkdir -p root/{bin,lib,lib64,dev,proc,sys,tmp} iso/isolinux
cp "$build/anemone" "$build/tests/unit/clip/clip_test" root/
strip -g root/clip_test
cp -r "$here/models/demo-clip" root/
cp /bin/busybox root/bin/
opened=$(ldconfig -p | awk '/lib(dnnl.so.2|openblas.so.0) / {print $NF}')
{ echo "$opened"; ldd root/anemone root/clip_test $opened | awk '/=> \//{print $3}'; } | sort -u | xargs cp -Lt root/lib
cp -L /lib64/ld-linux-x86-64.so.2 root/lib64/
cat > root/init <<'INIT'
#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev; mount -t tmpfs tmp /tmp
export LD_LIBRARY_PATH=/lib OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
cd /
./clip_test --gtest_color=no --gtest_filter=Encoder.Bf16Products
for compute in bf16 fp32; do
  echo "== --compute $compute"
  DNNL_VERBOSE=1 ./anemone infer demo-clip --image demo-clip/images/bag.jpg --labels demo-clip/labels.txt --compute $compute > /tmp/out 2>&1
  grep -v verbose /tmp/out
  grep -o 'matmul,brg[^,]*' /tmp/out | sort | uniq -c
done
echo "guest done"
head -c 8192 /dev/zero | tr '\0' '\n'  # Bochs writes its serial line's file by the block
poweroff -f
INIT
chmod +x root/init

(cd root && find . | cpio -o -H newc --quiet) > iso/initrd
cp linux-source-6.1/arch/x86/boot/bzImage iso/vmlinuz
cp /usr/lib/ISOLINUX/isolinux.bin /usr/lib/syslinux/modules/bios/ldlinux.c32 iso/isolinux/
# 580 is FSRM: Linux forgets it where fast strings are off, as they are here, and its memmove then runs past the end.
cat > iso/isolinux/isolinux.cfg <<'MENU'
DEFAULT linux
LABEL linux
 KERNEL /vmlinuz
 INITRD /initrd
 APPEND console=ttyS0,115200 loglevel=4 rdinit=/init nolapic noapic clearcpuid=580
MENU
xorriso -as mkisofs -quiet -o boot.iso -b isolinux/isolinux.bin -c isolinux/boot.cat -no-emul-boot -boot-load-size 4 -boot-info-table iso

# AMX is left out: this Linux switches on half of it.
cat > bochsrc <<RC
memory: guest=1024, host=1024
cpu: model=sapphire_rapids, ips=200000000, exclude_features="amx_bf16 amx_int8 amx"
romimage: file=/usr/share/bochs/BIOS-bochs-latest
vgaromimage: file=/usr/share/vgabios/vgabios.bin
ata0-master: type=cdrom, path=boot.iso, status=inserted
boot: cdrom
com1: enabled=1, mode=file, dev=serial.txt
display_library: nogui
log: bochs.log
panic: action=fatal
error: action=ignore
clock: sync=none
RC
rm -f serial.txt
"$bochs" -q -f bochsrc > bochs.out 2>&1 &
for ((i = 0; i < 900; ++i)); do
  sleep 1
  ! grep -qs -e "guest done" -e "Kernel panic" serial.txt || break
done
kill %1 2> /dev/null || true
tr -d '\r' < serial.txt | grep .
grep -q "guest done" serial.txt && ! grep -q FAILED serial.txt
