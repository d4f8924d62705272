// libqrencode of Debian (libqrencode-dev).
#include <qrencode.h>
