# cmake --install: program, man pages, completions, licence (component Runtime); library, headers, find_package(anemone) and
# pkg-config (component Development). cpack makes a Debian package of each.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

# The program writes its own pages and completions, from the tables it parses by.
if(TARGET anemone_cli)
  set(manual ${PROJECT_BINARY_DIR}/manual)
  set(write_manual)
  foreach(kind man bash zsh fish)
    file(MAKE_DIRECTORY ${manual}/${kind})
    list(APPEND write_manual COMMAND anemone_cli --manual ${kind} ${manual}/${kind})
  endforeach()
  add_custom_command(OUTPUT ${manual}/written ${write_manual} COMMAND ${CMAKE_COMMAND} -E touch ${manual}/written
                     DEPENDS anemone_cli COMMENT "Writing man pages and completions" VERBATIM)
  add_custom_target(anemone_manual ALL DEPENDS ${manual}/written)
  install(TARGETS anemone_cli RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR} COMPONENT Runtime)
  install(DIRECTORY ${manual}/man/ DESTINATION ${CMAKE_INSTALL_MANDIR}/man1 COMPONENT Runtime)
  install(DIRECTORY ${manual}/bash/ DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions COMPONENT Runtime)
  install(DIRECTORY ${manual}/zsh/ DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/vendor-completions COMPONENT Runtime)
  install(DIRECTORY ${manual}/fish/ DESTINATION ${CMAKE_INSTALL_DATADIR}/fish/vendor_completions.d COMPONENT Runtime)
endif()
install(FILES LICENSE RENAME copyright DESTINATION ${CMAKE_INSTALL_DOCDIR} COMPONENT Runtime)

install(TARGETS anemone EXPORT anemoneTargets ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT Development)
install(DIRECTORY include/anemone DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} COMPONENT Development)
set(config_dir ${CMAKE_INSTALL_LIBDIR}/cmake/anemone)
install(EXPORT anemoneTargets NAMESPACE anemone:: DESTINATION ${config_dir} COMPONENT Development)
configure_package_config_file(cmake/anemoneConfig.cmake.in ${PROJECT_BINARY_DIR}/anemoneConfig.cmake INSTALL_DESTINATION ${config_dir})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/anemoneConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/anemoneConfig.cmake ${PROJECT_BINARY_DIR}/anemoneConfigVersion.cmake
        DESTINATION ${config_dir} COMPONENT Development)
file(RELATIVE_PATH ANEMONE_PC_PREFIX /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
configure_file(cmake/anemone.pc.in ${PROJECT_BINARY_DIR}/anemone.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/anemone.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig COMPONENT Development)

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME anemone)
set(CPACK_PACKAGE_CONTACT "The anemone project <anemone@example.org>")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_COMPONENTS_ALL Runtime Development)
set(CPACK_STRIP_FILES ON)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION science)
set(CPACK_DEBIAN_RUNTIME_PACKAGE_NAME anemone)
set(CPACK_DEBIAN_RUNTIME_PACKAGE_SHLIBDEPS ON)
# Loaded by name at first use, so no linker lists them.
set(CPACK_DEBIAN_RUNTIME_PACKAGE_DEPENDS "libopenblas0, libcurl4")
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_NAME libanemone-dev)
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_SECTION libdevel)
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_DEPENDS "libfmt-dev, libdeflate-dev, libsimdjson-dev, libtbb-dev, libssl-dev, \
libyaml-cpp-dev, libre2-dev, zlib1g-dev, libjpeg-dev, libpng-dev, libwebp-dev, libutf8proc-dev")
include(CPack)
